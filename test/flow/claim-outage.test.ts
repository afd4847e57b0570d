import { describe, expect, test } from "vitest";
import { z } from "zod";
import { AcknowledgeBuffer } from "../../lib/flow/acknowledge.ts";
import { visibilityOf } from "../../lib/flow/heartbeat.ts";
import { Producer } from "../../lib/flow/producer.ts";
import { Runner } from "../../lib/flow/runner.ts";
import { makeServices } from "../../lib/flow/services.ts";
import type { Faults } from "../../lib/memory/memory-faults.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { FlowHost } from "../support/flow-host.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }) });
const metered = defineTask({
  name: "metered",
  input: z.object({ n: z.number() }),
  rateLimit: defineRateLimit({ name: "supplier", limit: 100, per: "1s", burst: 100 }),
});

const QUEUE_VERBS = new Set(["send", "receive", "acknowledge", "hide", "depth"]);
const ledgerDown: Faults = ({ verb }) => (QUEUE_VERBS.has(verb) ? undefined : "refused");

const inputs = Array.from({ length: 30 }, (_, n) => ({ input: { n } }));

describe("F18 a ledger that does not answer", () => {
  test.each([
    { task: plain, count: 1, outage: "10m" },
    { task: plain, count: 30, outage: "10m" },
    { task: metered, count: 30, outage: "10m" },
    { task: plain, count: 1, outage: "3h" },
  ] as const)(
    "for $outage starts no handler, uses no task's receives up, and all succeed afterwards: $count of $task.name",
    async ({ task, count, outage }) => {
      const world = await flowWorld();
      const tasks = await world.client.enqueueMany(task, inputs.slice(0, count));
      const handlers = [plain.handle(() => undefined), metered.handle(() => undefined)];
      for (let each = 0; each < 2; each++) world.worker(handlers);
      world.faults = ledgerDown;
      await world.advance(outage);
      expect(world.of("attempt-started")).toEqual([]);
      for (const { id } of tasks) expect(world.record(id)).toMatchObject({ state: "queued", attempts: 0 });
      expect(await world.backend.queue.depth({ lane: "normal", dead: true })).toMatchObject({
        visible: 0,
        inFlight: 0,
      });
      world.faults = undefined;
      await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"), "3m");
      for (const { id } of tasks) {
        expect(world.of("attempt-started", id)).toHaveLength(1);
        expect(world.record(id)).toMatchObject({ attempts: 1, failures: 0, crashes: 0 });
      }
      await world.close();
    },
  );

  test("slows the polling of a worker down, and does not spin", async () => {
    const world = await flowWorld();
    await world.client.enqueueMany(plain, inputs);
    world.worker([plain.handle(() => undefined)]);
    world.faults = ledgerDown;
    await world.advance("10m");
    const count = (verb: string): number => world.calls.filter((call) => call.verb === verb).length;
    expect(count("receive")).toBeLessThan(150);
    expect(count("claimMany")).toBeLessThan(2 * 30 * 25);
    await world.close();
  });

  test("leaves the messages to a visibility with jitter, so that they do not all come back at once", async () => {
    const world = await flowWorld();
    await world.client.enqueueMany(plain, inputs.slice(0, 10));
    world.worker([plain.handle(() => undefined)]);
    world.faults = ledgerDown;
    await world.advance("2s");
    world.faults = undefined;
    await world.until(() => world.of("attempt-started").length === 10, "2m");
    const starts = world.of("attempt-started").map(({ at }) => at);
    expect(Math.max(...starts) - Math.min(...starts)).toBeGreaterThan(5_000);
    await world.close();
  });
});

describe("a claim whose answer is lost", () => {
  test("F20 an answer lost after the write landed is recognised as ours: claim", async () => {
    const world = await flowWorld();
    let lost = 0;
    world.faults = ({ verb }) => (verb === "claimMany" && lost++ === 0 ? "unanswered" : undefined);
    world.worker([plain.handle(() => undefined)]);
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    await world.close();
  });

  test("F18 F20 that is never found again costs a lease and one crash, and the task succeeds", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "claimMany" ? "unanswered" : undefined);
    world.worker([plain.handle(() => undefined)]);
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    expect(world.record(task.id)).toMatchObject({ state: "running", attempts: 1 });
    expect(world.of("attempt-started")).toEqual([]);
    world.faults = undefined;
    await world.until(() => world.record(task.id).state === "succeeded", "3m");
    expect(world.record(task.id)).toMatchObject({ crashes: 1 });
    expect(world.of("attempt-started")).toHaveLength(1);
    await world.close();
  });
});

describe("a queue that does not answer", () => {
  test("F18 is polled again, ever more slowly, and the tasks run once it does", async () => {
    const world = await flowWorld();
    const worker = world.worker([plain.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(plain, { n: 1 });
    world.faults = ({ verb }) => (verb === "receive" ? "refused" : undefined);
    await world.advance("1ms");
    const before = world.calls.length;
    await world.advance("10m");
    expect(world.calls.length - before).toBeLessThan(60);
    expect(worker.events.filter(({ type }) => type === "poll-failed").length).toBeGreaterThan(5);
    world.faults = undefined;
    await world.advance("1m");
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });

  test("F20 an answer lost after the messages were received brings them again when their time out of sight is over", async () => {
    const world = await flowWorld();
    await world.client.enqueueMany(plain, inputs);
    let receives = 0;
    world.faults = ({ verb }) => (verb === "receive" && receives++ < 3 ? "unanswered" : undefined);
    world.worker([plain.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.of("attempt-started").length === 30, "2m");
    await world.advance("1m");
    expect(
      [...world.audit.records.values()].every((record) => record.state === "succeeded" && record.crashes === 0),
    ).toBe(true);
    await world.close();
  });
});

describe("messages that wait in a worker", () => {
  test("F40 are kept out of sight from their receive on, and passed on to others after a lease without a free slot", async () => {
    const world = await flowWorld();
    const host = world.newHost();
    const slow = [plain.handle((_input, ctx) => host.pause(25_000, ctx.signal))];
    const services = makeServices({ backend: world.backend, clock: world.clock, random: seededRandom(2) });
    const times = { leaseMs: 30_000, skewMs: 5_000 };
    const producer = new Producer(services);
    // A host may hand over more than can start, as a function's batch is: here one slot for eight messages.
    const runner = new Runner(services, {
      handlers: new Map(slow.map((handler) => [handler.definition.name, handler])),
      lanes: ["normal"],
      concurrency: 1,
      times,
      log: () => undefined,
      worker: "sample",
      enqueue: (parent) => producer.childOf(parent),
      traced: (_traceparent, run) => run(),
      host: new AcknowledgeBuffer(services),
      onAbandoned: () => undefined,
    });
    await world.client.enqueueMany(plain, inputs.slice(0, 8));
    runner.offer("normal", await world.take("normal", visibilityOf(times)));
    // Nobody else sees them while they wait here; what waits for seconds is passed on, and nothing runs twice.
    await world.advance("4s");
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 8 });
    const other = world.worker(slow, { scheduler: false });
    await world.until(() => [...world.audit.records.values()].every(({ state }) => state === "succeeded"), "5m");
    await world.during(runner.idle());
    for (const { id, attempts, crashes } of world.audit.records.values()) {
      expect([attempts, crashes]).toEqual([1, 0]);
      expect(world.audit.commitsOf(id)).toBe(1);
    }
    expect(other.events.filter(({ type }) => type === "copy-dropped" || type === "crash-detected")).toEqual([]);
    await world.close();
  });

  test("F39 are never more than could start, so that a backlog stays in the queue for others", async () => {
    const world = await flowWorld();
    world.worker((host) => [plain.handle((_input, ctx) => host.pause(20_000, ctx.signal))], { concurrency: 4 });
    await world.client.enqueueMany(plain, inputs);
    await world.advance("5s");
    const { visible, inFlight } = await world.backend.queue.depth({ lane: "normal" });
    expect([visible, inFlight]).toEqual([26, 4]);
    await world.close();
  });
});

describe("a heartbeat", () => {
  test("F41 that fails is tried again well within the lease, and neither message nor task is lost", async () => {
    const world = await flowWorld();
    let fails = 0;
    world.faults = ({ verb }) =>
      (verb === "hide" || verb === "renewMany") && fails++ % 2 === 0 ? "refused" : undefined;
    const handlers = (host: FlowHost) => [plain.handle((_input, ctx) => host.pause(28_000, ctx.signal))];
    world.worker(handlers, { lease: "9s", clockSkew: "1s" });
    world.worker(handlers, { lease: "9s", clockSkew: "1s" });
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1m");
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    expect(fails).toBeGreaterThan(4);
    await world.close();
  });

  test("F41 ends with its message: no delay of a retry is overwritten, and no timer is left", async () => {
    const world = await flowWorld();
    const retried = defineTask({
      name: "retried",
      input: z.object({}),
      backoff: { initial: "60s", factor: 1, max: "60s", jitter: "none" },
    });
    const worker = world.worker(
      (host) => [
        retried.handle(async (_input, ctx) => {
          await host.pause(20_000, ctx.signal);
          if (ctx.attempt === 1) throw new Error("again");
        }),
      ],
      { scheduler: false },
    );
    const task = await world.client.enqueue(retried, {});
    await world.until(() => world.record(task.id).state === "succeeded", "5m");
    const [first, second] = world.of("attempt-started", task.id);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBe(80_000);
    // The old message was gone the moment the new one was sent.
    const settledAt = world.calls.findIndex(({ verb }) => verb === "settleMany");
    const hidden = world.calls.slice(settledAt).filter(({ verb, entry }) => verb === "hide" && entry === "normal/1/1");
    expect(hidden).toEqual([]);
    worker.stop();
    await world.during(worker.ended);
    expect(world.clock.pending).toBe(0);
  });

  test("asks once for ten messages, and renews only the leases that an attempt outlives", async () => {
    const world = await flowWorld();
    world.worker((host) => [plain.handle((_input, ctx) => host.pause(12_000, ctx.signal))], { scheduler: false });
    await world.client.enqueueMany(plain, inputs.slice(0, 10));
    await world.advance("30s");
    expect(world.calls.filter(({ verb }) => verb === "renewMany")).toEqual([]);
    expect(world.calls.filter(({ verb }) => verb === "hide").length).toBeGreaterThan(0);
    await world.close();
  });

  test("renews for longer the older an attempt is, so that a long task costs few writes", async () => {
    const world = await flowWorld();
    const long = defineTask({ name: "long", input: z.object({}), timeout: "11h" });
    world.worker((host) => [long.handle((_input, ctx) => host.pause(4 * 3_600_000, ctx.signal))], { scheduler: false });
    const task = await world.client.enqueue(long, {});
    await world.until(() => world.record(task.id).state === "succeeded", "5h");
    const renewals = world.calls.filter(({ verb }) => verb === "renewMany").length;
    // At most five minutes each: 48 of those, and the few of the first minutes.
    expect(renewals).toBeLessThan(70);
    expect(world.record(task.id)).toMatchObject({ attempts: 1, crashes: 0 });
    await world.close();
  });

  test("F05 keeps the longest task that may be defined within the twelve hours of a message", async () => {
    const world = await flowWorld();
    const longest = defineTask({ name: "longest", input: z.object({}), timeout: "11h", maxRetries: 0 });
    world.worker((host) => [longest.handle((_input, ctx) => host.pause(11 * 3_600_000 - 60_000, ctx.signal))]);
    world.worker((host) => [longest.handle((_input, ctx) => host.pause(1_000, ctx.signal))]);
    const task = await world.client.enqueue(longest, {});
    await world.until(() => world.record(task.id).state === "succeeded", "13h");
    expect(world.record(task.id)).toMatchObject({ attempts: 1, crashes: 0 });
    expect(() => defineTask({ name: "too-long", input: z.object({}), timeout: "12h" })).toThrow("DEFINITION_INVALID");
    await world.close();
  });
});
