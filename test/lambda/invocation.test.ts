import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/index.ts";
import type { LambdaBatchReport, LambdaSqsRecord } from "../../lib/lambda/index.ts";
import { createLambdaScheduler } from "../../lib/lambda/index.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { Fault } from "../../lib/memory/memory-faults.ts";
import { isFinal } from "../../lib/task/states.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import type { WorldFunction } from "./memory-source.ts";
import { concludeEvent, receiveEvent, worldContext, worldFunction } from "./memory-source.ts";

const input = z.object({ ms: z.int() });
const work = defineTask({ name: "work", input, maxCrashes: 50 });
const wobbly = defineTask({ name: "wobbly", input, maxRetries: 20, maxCrashes: 50, backoff: { max: "1m" } });

const handlersOf = (host: FlowHost) => [
  work.handle(async ({ ms }, ctx) => {
    await host.pause(ms, ctx.signal);
    ctx.signal.throwIfAborted();
  }),
  wobbly.handle(async ({ ms }, ctx) => {
    await host.pause(ms, ctx.signal);
    if (ctx.attempt <= 2) throw new Error("not yet");
  }),
];

const FUNCTION_MS = 60_000;

/** Serves a queue by functions that may die, with or without a scheduler each minute, until every task is over. */
async function serveToTheEnd(
  world: FlowWorld,
  { hasScheduler, strike }: { hasScheduler: boolean; strike?: (host: FlowHost) => void },
): Promise<void> {
  const scheduler = createLambdaScheduler({
    backend: world.backend,
    clock: world.clock,
    random: seededRandom(99),
    log: () => undefined,
    writeMetrics: () => undefined,
  });
  const born = (): WorldFunction => {
    const host = world.newHost();
    strike?.(host);
    return worldFunction(world, { handlers: handlersOf(host), lease: "10s" }, host);
  };
  let served = born();
  let scheduledAt = Number.NEGATIVE_INFINITY;
  const end = world.clock.now() + 12 * 3_600_000;
  while (world.clock.now() < end) {
    if ([...world.audit.records.values()].every(({ state }) => isFinal(state))) return;
    if (hasScheduler && world.clock.now() - scheduledAt >= 60_000) {
      scheduledAt = world.clock.now();
      await world.during(scheduler({}, worldContext(world, FUNCTION_MS)).catch(() => undefined));
    }
    const event = await receiveEvent(world).catch(() => ({ Records: [] }));
    if (event.Records.length === 0) {
      await world.advance("5s");
      continue;
    }
    let report: LambdaBatchReport | undefined;
    const began = world.clock.now();
    void served.start(event, FUNCTION_MS).then((answer) => {
      report = answer;
    });
    const { host } = served;
    await world.until(() => report !== undefined || host.isDead, "10m");
    if (report === undefined) served = born();
    else {
      if (world.clock.now() - began >= FUNCTION_MS) throw new Error("the function was late");
      await concludeEvent(world, event, report).catch(() => undefined);
    }
  }
}

function faultsFound(world: FlowWorld): string[] {
  const found = [...world.audit.violations];
  for (const { id, state, crashes } of world.audit.records.values()) {
    if (state !== "succeeded") found.push(`${id} is ${state}, after ${crashes} crashes`);
    if (world.audit.commitsOf(id) !== 1) found.push(`${id} ended ${world.audit.commitsOf(id)} times`);
  }
  return found;
}

const anyTasks = fc.array(fc.record({ task: fc.constantFrom(work, wobbly), ms: fc.integer({ min: 0, max: 25_000 }) }), {
  minLength: 1,
  maxLength: 8,
});

describe("a report", () => {
  test("F12 F14 lets nothing go that is not over or on its way, whatever call of the stores goes wrong", async () => {
    await fc.assert(
      fc.asyncProperty(anyTasks, fc.integer({ min: 1, max: 1_000_000 }), async (wanted, seed) => {
        const world = await flowWorld({ seed });
        for (const { task, ms } of wanted) await world.client.enqueue(task, { ms });
        const chance = seededRandom(seed);
        const calm = world.clock.now() + 600_000;
        // A tenth of all calls, for ten minutes.
        world.faults = (): Fault | undefined =>
          world.clock.now() < calm && chance.next() < 0.1
            ? chance.next() < 0.5
              ? "refused"
              : "unanswered"
            : undefined;
        // Without a scheduler nothing mends what a report lost.
        await serveToTheEnd(world, { hasScheduler: false });
        expect(faultsFound(world)).toEqual([]);
        await world.close();
      }),
      { numRuns: 40 },
    );
  });

  test("F08 F14 of a function that died before it answered costs a crash at most, whichever call it died at", async () => {
    await fc.assert(
      fc.asyncProperty(
        anyTasks,
        fc.array(fc.tuple(fc.nat({ max: 40 }), fc.constantFrom("before", "after")), { maxLength: 6 }),
        async (wanted, deaths) => {
          const world = await flowWorld();
          for (const { task, ms } of wanted) await world.client.enqueue(task, { ms });
          const left = [...deaths];
          await serveToTheEnd(world, {
            hasScheduler: true,
            strike: (host) => {
              const [at, phase] = left.shift() ?? [];
              if (at !== undefined)
                host.onCall = (call) => {
                  if (call.number === at && call.phase === phase) host.kill();
                };
            },
          });
          expect(faultsFound(world)).toEqual([]);
          for (const { crashes } of world.audit.records.values()) expect(crashes).toBeLessThanOrEqual(deaths.length);
          await world.close();
        },
      ),
      { numRuns: 40 },
    );
  });
});

describe("a claim that is answered when the invocation is over", () => {
  test("F06 starts no handler in a later one, leaves no timer, and touches no message by a receipt of the past", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(work, { ms: 1 });
    const served = worldFunction(world, { handlers: [work.handle(() => void started++)] });
    let started = 0;
    // The second of each is what the claim comes to that asks once more.
    for (const [fault, then] of [["refused", "refused"], ["refused"], []] as const) {
      const held = Promise.withResolvers<Fault | undefined>();
      world.faults = ({ verb }) => (verb === "claimMany" ? held.promise : undefined);
      const event = await receiveEvent(world);
      const report = await served.call(event, 40_000);
      expect(report.batchItemFailures).toHaveLength(event.Records.length);
      expect(world.clock.pending).toBe(0);
      world.faults = ({ verb }) => (verb === "claimMany" ? then : undefined);
      const before = world.calls.length;
      held.resolve(fault);
      await world.advance("1s");
      expect(world.calls.slice(before).filter(({ verb }) => verb === "hide" || verb === "acknowledge")).toEqual([]);
      expect(world.clock.pending).toBe(0);
      world.faults = undefined;
      await world.advance("6m");
    }
    expect(started).toBe(0);
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0, failures: 0, crashes: 0 });
    await served.serve(40_000);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    await world.close();
  });
});

describe("decode", () => {
  test("that hangs keeps none of the tasks beside it from their time, nor the function from its answer", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(work, { ms: 5_000 });
    const host = world.newHost();
    const never = new Promise<undefined>(() => undefined);
    const served = worldFunction(world, { handlers: handlersOf(host), decode: () => never }, host);
    const event = await receiveEvent(world);
    const foreign = { ...event.Records[0], messageId: "foreign", body: "hello" } as LambdaSqsRecord;
    const began = world.clock.now();
    const done = served.start({ Records: [foreign, ...event.Records] }, 30_000);
    await world.advance("6s");
    expect(world.record(task.id).state).toBe("succeeded");
    expect(await world.during(done)).toEqual({ batchItemFailures: [{ itemIdentifier: "foreign" }] });
    expect(world.clock.now() - began).toBeLessThan(30_000);
    expect(world.clock.pending).toBe(0);
    await world.close();
  });

  test("may stand for several tasks, each of them once, and for none", async () => {
    const world = await flowWorld();
    const host = world.newHost();
    const served = worldFunction(
      world,
      {
        handlers: handlersOf(host),
        decode: ({ body }) => [...body].map((digit) => ({ task: work, input: { ms: Number(digit) } })),
      },
      host,
    );
    const foreign = (messageId: string, body: string): LambdaSqsRecord => ({
      messageId,
      receiptHandle: "r",
      body,
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
      eventSourceARN: "arn:aws:sqs:us-east-1:1:elsewhere",
    });
    const event = { Records: [foreign("first", "112"), foreign("second", "1"), foreign("third", "")] };
    for (let times = 0; times < 3; times++) expect(await served.call(event, 30_000)).toEqual({ batchItemFailures: [] });
    expect([...world.audit.records.values()].map(({ input: stored }) => stored)).toHaveLength(4);
    await world.close();
  });

  test("makes what it is asked for again and again into one task, where the enqueue is not answered", async () => {
    const world = await flowWorld();
    const host = world.newHost();
    const served = worldFunction(
      world,
      { handlers: handlersOf(host), decode: () => ({ task: work, input: { ms: 1 } }) },
      host,
    );
    const event = {
      Records: [
        {
          messageId: "one",
          receiptHandle: "r",
          body: "anything",
          attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
          eventSourceARN: "arn:aws:sqs:us-east-1:1:elsewhere",
        },
      ],
    };
    world.faults = ({ verb }) => (verb === "recordMany" ? "unanswered" : undefined);
    const refused = await served.call(event, 30_000);
    world.faults = undefined;
    const taken = await served.call(event, 30_000);
    expect([refused, taken]).toEqual([{ batchItemFailures: [{ itemIdentifier: "one" }] }, { batchItemFailures: [] }]);
    expect(world.audit.records.size).toBe(1);
    await world.close();
  });
});
