import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld, WorldWorker } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { worstBreach } from "../support/rate-property.ts";

const HOUR_MS = 3_600_000;
const LEASE_MS = 30_000;
/** A poll's and a claim's time, and SQS's whole seconds. */
const SLACK_MS = 3_000;

const long = defineTask({ name: "long", input: z.object({ hours: z.number() }), timeout: "11h" });
const short = defineTask({ name: "short", input: z.object({ n: z.number() }) });

const handlers = (host: FlowHost): TaskHandler[] => [
  long.handle(({ hours }, ctx) => host.pause(hours * HOUR_MS, ctx.signal)),
  short.handle(() => undefined),
];

/** Starts a long task on a worker that dies, and answers the suspect. */
async function makeSuspect(world: FlowWorld): Promise<{ readonly id: string }> {
  const doomed = world.worker(handlers);
  const task = await world.client.enqueue(long, { hours: 2 });
  await world.until(() => startsOf(doomed) === 1);
  doomed.host.kill();
  return task;
}

/** Adds a worker that is busy with a long task of its own. */
async function busyWorker(world: FlowWorld, hours: number): Promise<WorldWorker> {
  const busy = world.worker(handlers);
  const own = await world.client.enqueue(long, { hours });
  await world.until(() => busy.events.some((event) => event.type === "attempt-started" && event.taskId === own.id));
  return busy;
}

const startsOf = (worker: WorldWorker): number => worker.events.filter(({ type }) => type === "attempt-started").length;

const enqueueShorts = (world: FlowWorld): Promise<{ readonly id: string }[]> =>
  world.client.enqueueMany(
    short,
    Array.from({ length: 10 }, (_, n) => ({ input: { n } })),
  );

describe("a suspect", () => {
  test("waits at most a lease for a quiet worker, and short tasks start meanwhile", async () => {
    const world = await flowWorld();
    const suspect = await makeSuspect(world);
    await busyWorker(world, 2);
    await world.advance("30s");
    // At any time: whenever short tasks come, none of them waits longer than the suspect may.
    for (let round = 0; round < 20; round++) {
      const from = world.clock.now();
      const shorts = await enqueueShorts(world);
      await world.until(() => shorts.every(({ id }) => world.record(id).state === "succeeded"), "10m");
      expect(world.clock.now() - from).toBeLessThanOrEqual(LEASE_MS + SLACK_MS);
      await world.advance("50s");
    }
    expect(world.of("deferred", suspect.id).some(({ reason }) => reason === "suspect")).toBe(true);
    expect(world.of("attempt-started", suspect.id)).toHaveLength(1);
    await world.close();
  });

  test("that is long lets others start beside it once it survived a lease, and not before", async () => {
    const world = await flowWorld();
    const suspect = await makeSuspect(world);
    world.worker(handlers);
    await world.until(() => world.of("attempt-started", suspect.id).length === 2, "5m");
    const takenOverAt = world.clock.now();
    const shorts = await enqueueShorts(world);
    await world.until(() => shorts.every(({ id }) => world.record(id).state === "succeeded"), "10m");
    expect(world.clock.now() - takenOverAt).toBeLessThanOrEqual(LEASE_MS + SLACK_MS);
    const first = Math.min(...world.of("attempt-started").flatMap(({ task, at }) => (task === "short" ? [at] : [])));
    expect(first - takenOverAt).toBeGreaterThanOrEqual(LEASE_MS);
    expect(world.record(suspect.id)).toMatchObject({ state: "running", crashes: 1, attempts: 2 });
    await world.close();
  });

  test("is taken over beside others after many deferrals, and ends", async () => {
    const world = await flowWorld();
    const suspect = await makeSuspect(world);
    const busy = await busyWorker(world, 10);
    await world.until(() => world.of("attempt-started", suspect.id).length === 2, "4h");
    expect(busy.events.some(({ type }) => type === "attempt-ended")).toBe(false);
    expect(world.of("deferred", suspect.id).filter(({ reason }) => reason === "suspect").length).toBeGreaterThan(5);
    await world.until(() => world.record(suspect.id).state === "succeeded", "3h");
    expect(world.record(suspect.id)).toMatchObject({ attempts: 2, crashes: 1, failures: 0 });
    // The one that it ran beside goes on.
    expect(busy.events.flatMap((event) => (event.type === "attempt-ended" ? [event.taskId] : []))).toEqual([
      suspect.id,
    ]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("a rate limit slot", () => {
  test("that a crashed attempt used is not used again by the takeover", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "minutely", limit: 60, per: "60s", burst: 60 });
    const metered = defineTask({
      name: "metered",
      input: z.object({ n: z.number() }),
      rateLimit: limit,
      timeout: "5m",
      maxCrashes: 10,
    });
    const uses = new Map<number, number>();
    const starts: number[] = [];
    const meteredHandlers = (host: FlowHost): TaskHandler[] => [
      metered.handle((_input, ctx) => {
        const { slotUs = 0 } = world.record(ctx.taskId);
        uses.set(slotUs, (uses.get(slotUs) ?? 0) + 1);
        starts.push(world.clock.now());
        return host.pause(200_000, ctx.signal);
      }),
    ];
    const options = { concurrency: 300, lease: "1s", clockSkew: "0ms", scheduler: false } as const;
    let worker = world.worker(meteredHandlers, options);
    for (let n = 0; n < 75; n++) await world.client.enqueue(metered, { n });
    await world.advance("16s");
    const beforeKills = starts.length;
    // It dies every four seconds and comes back, well within the minute for which a slot is good.
    for (let death = 0; death < 10; death++) {
      worker.host.kill();
      worker = world.worker(meteredHandlers, options);
      await world.advance("4s");
    }
    expect(starts.length).toBeGreaterThan(beforeKills);
    expect(uses.has(0)).toBe(false);
    expect([...uses.values()].filter((times) => times > 1)).toEqual([]);
    expect(worstBreach(starts, { limit: 60, perMs: 60_000, burst: 60 })).toBeUndefined();
    await world.close();
  });
});
