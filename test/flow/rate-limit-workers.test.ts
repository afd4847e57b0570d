import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { TaskContext } from "../../lib/task/context.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { RateLimit } from "../../lib/task/define-rate-limit.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { RetryAfterError, SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import { isFinal } from "../../lib/task/states.ts";
import type { FlowHost } from "../support/flow-host.ts";
import { flowWorld } from "../support/flow-world.ts";
import { worstBreach } from "../support/rate-property.ts";
import { moveLetters, schedulerOf } from "../support/world-scheduler.ts";

const inputSchema = z.object({
  key: z.string(),
  runMs: z.number(),
  /** How the first attempts end. */
  plan: z.array(z.enum(["fail", "retry at once", "snooze", "die"])),
});
type Input = z.infer<typeof inputSchema>;

/** A task under a limit, and a handler that notes each start. */
function limitedTask(rateLimit: RateLimit): {
  task: ReturnType<typeof makeTask>;
  starts: { at: number; key: string; id: string }[];
  handlerOn(host: FlowHost): TaskHandler;
} {
  const task = makeTask(rateLimit);
  const starts: { at: number; key: string; id: string }[] = [];
  return {
    task,
    starts,
    handlerOn: (host) =>
      task.handle(async (input: Input, ctx: TaskContext) => {
        starts.push({ at: host.clock.now(), key: input.key, id: ctx.taskId });
        const end = input.plan[ctx.attempt - 1];
        if (input.runMs > 0) await host.pause(input.runMs, ctx.signal);
        if (end === "fail") throw new Error("it fails");
        if (end === "retry at once") throw new RetryAfterError("0ms");
        if (end === "snooze") throw new SnoozeError("1500ms");
        if (end === "die") throw new TerminalError("it dies");
      }),
  };
}

function makeTask(rateLimit: RateLimit) {
  return defineTask({
    name: "call-supplier",
    input: inputSchema,
    rateLimit,
    rateLimitKey: (input) => input.key,
    backoff: { initial: "700ms", factor: 2, max: "3s" },
    maxCrashes: 100,
    maxRetries: 10,
    timeout: "5m",
  });
}

const plans = fc.array(fc.constantFrom("fail" as const, "retry at once" as const, "snooze" as const), { maxLength: 2 });
const inputs = fc.array(
  fc.record({ key: fc.constantFrom("a", "a", "a", "b"), runMs: fc.constantFrom(0, 0, 300, 5_000), plan: plans }),
  { minLength: 4, maxLength: 24 },
);
const limits = fc
  .record({
    limit: fc.constantFrom(1, 2, 5, 20),
    per: fc.constantFrom("1s" as const, "2s" as const, "10s" as const),
    burst: fc.constantFrom(1, 2, 3, 10),
  })
  .map((options) => defineRateLimit({ name: "supplier", ...options }));
const kills = fc.array(fc.record({ afterMs: fc.integer({ min: 1, max: 20_000 }), worker: fc.nat(2) }), {
  maxLength: 4,
});

describe("F28 several workers under one rate limit", () => {
  test("start no more handlers than burst + rate × time, whoever crashes, fails, snoozes or is woken twice", async () => {
    let [started, crashed] = [0, 0];
    await fc.assert(
      fc.asyncProperty(
        limits,
        inputs,
        kills,
        fc.constantFrom(0, 0, 0.3),
        fc.integer({ min: 1, max: 1_000 }),
        async (limit, tasks, deaths, duplicateRate, seed) => {
          const world = await flowWorld({ seed, duplicateRate, staleDelete: seed % 2 === 0 ? "removes" : "keeps" });
          const { task, starts, handlerOn } = limitedTask(limit);
          const workers = [1, 2, 3].map(() => world.worker((host) => [handlerOn(host)], { concurrency: 4 }));
          const accepted = await world.client.enqueueMany(
            task,
            tasks.map((input) => ({ input })),
          );
          for (const { afterMs, worker } of deaths) {
            await world.advance(afterMs);
            workers[worker]?.host.kill();
            workers[worker] = world.worker((host) => [handlerOn(host)], { concurrency: 4 });
          }
          await world.until(() => accepted.every(({ id }) => isFinal(world.record(id).state)), "6h");
          for (const key of ["a", "b"])
            expect(
              worstBreach(
                starts.filter((each) => each.key === key).map(({ at }) => at),
                limit,
              ),
            ).toBeUndefined();
          for (const [at, { id }] of accepted.entries()) {
            const record = world.record(id);
            expect(record.state).toBe("succeeded");
            expect(world.audit.commitsOf(id)).toBe(1);
            // Waiting for a slot is charged to nobody; an attempt that crashed does not come to its planned end.
            const planned = (tasks[at]?.plan ?? []).filter((end) => end !== "snooze").length;
            expect(record.failures).toBeLessThanOrEqual(planned);
            expect(record.failures).toBeGreaterThanOrEqual(planned - record.crashes);
            crashed += record.crashes;
          }
          expect(world.audit.violations).toEqual([]);
          started += starts.length;
          await world.close();
        },
      ),
      { numRuns: 120, seed: 20_261_124 },
    );
    expect(started).toBeGreaterThan(300);
    expect(crashed).toBeGreaterThan(3);
  });

  test("a takeover needs a slot like any other start", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "20s", burst: 2 });
    const fragile = defineTask({
      name: "fragile",
      input: z.object({}),
      rateLimit: limit,
      maxCrashes: 10,
      timeout: "1h",
    });
    const starts: number[] = [];
    const handlerOn = (host: FlowHost): TaskHandler =>
      fragile.handle(async (_, ctx) => {
        starts.push(host.clock.now());
        if (ctx.attempt === 1) await host.pause(1_800_000, ctx.signal);
      });
    const first = world.worker((host) => [handlerOn(host)], { concurrency: 20 });
    const tasks = await world.client.enqueueMany(
      fragile,
      Array.from({ length: 10 }, () => ({ input: {} })),
    );
    await world.until(() => starts.length === 10);
    first.host.kill();
    world.worker((host) => [handlerOn(host)]);
    world.worker((host) => [handlerOn(host)]);
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"), "6h");
    expect(starts).toHaveLength(20);
    expect(worstBreach(starts, limit)).toBeUndefined();
    for (const { id } of tasks) expect(world.record(id)).toMatchObject({ crashes: 1, attempts: 2 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a retry that comes a little early waits for its time and for a slot", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 2, per: "1s", burst: 2 });
    const { task, starts, handlerOn } = limitedTask(limit);
    world.worker((host) => [handlerOn(host)]);
    world.worker((host) => [handlerOn(host)]);
    const tasks = await world.client.enqueueMany(
      task,
      Array.from({ length: 20 }, () => ({ input: { key: "a", runMs: 0, plan: ["fail" as const, "snooze" as const] } })),
    );
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    expect(starts).toHaveLength(60);
    expect(
      worstBreach(
        starts.map(({ at }) => at),
        limit,
      ),
    ).toBeUndefined();
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a message of a lifetime that is over does not let its task start without a slot", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "10s", burst: 2 });
    const brief = defineTask({ name: "brief", input: z.object({}), rateLimit: limit, maxLifetime: "1h" });
    const starts: number[] = [];
    let die = true;
    const handler = brief.handle(() => {
      starts.push(world.clock.now());
      if (die) throw new TerminalError("not yet");
    });
    world.worker([handler], { scheduler: false });
    const tasks = await world.client.enqueueMany(
      brief,
      Array.from({ length: 6 }, () => ({ input: {} })),
    );
    const bodies = world.calls.flatMap(({ verb, target, entry }) =>
      verb === "send" && target === "normal" && entry !== undefined ? [entry] : [],
    );
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "dead"));
    await world.advance("2h");
    die = false;
    // The letters go back, and with them messages of the first epoch, which name an hour that is over.
    await world.backend.queue.send(
      { lane: "normal" },
      bodies.map((body) => ({ body, delayMs: 2_000 })),
    );
    await moveLetters(world);
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    expect(starts).toHaveLength(12);
    expect(worstBreach(starts, limit)).toBeUndefined();
    await world.close();
  });

  test("a slot that was used is not used again, not even after another by a copy of an older message", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "5s", burst: 4 });
    const { task, starts, handlerOn } = limitedTask(limit);
    const [, , , , one] = await world.client.enqueueMany(
      task,
      [[], [], [], [], ["retry at once" as const, "retry at once" as const]].map((plan) => ({
        input: { key: "a", runMs: 0, plan },
      })),
    );
    const id = one?.id ?? "";
    world.worker((host) => [handlerOn(host)], { scheduler: false });
    await world.until(() => world.record(id).failures === 2);
    const withSlot = world.calls.find(
      ({ verb, entry }) => verb === "send" && entry?.includes(id) && entry.includes('"slot"'),
    );
    expect(withSlot?.entry).toBeDefined();
    // The slot of this copy was used by the first attempt, and is still good; the second one used the next.
    await world.backend.queue.send({ lane: "normal" }, [{ body: withSlot?.entry ?? "" }]);
    await world.until(() => world.record(id).state === "succeeded");
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    const mine = starts.filter((each) => each.id === id).map(({ at }) => at);
    expect(mine).toHaveLength(3);
    expect((mine[1] ?? 0) - (mine[0] ?? 0)).toBeGreaterThanOrEqual(5_000);
    expect((mine[2] ?? 0) - (mine[1] ?? 0)).toBeGreaterThanOrEqual(5_000);
    expect(
      worstBreach(
        starts.map(({ at }) => at),
        limit,
      ),
    ).toBeUndefined();
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("a task that its rate limit holds back", () => {
  test("costs the ledger nothing but the reservation, and comes back with its slot", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "10s", burst: 2 });
    const { task, starts, handlerOn } = limitedTask(limit);
    const tasks = await world.client.enqueueMany(
      task,
      Array.from({ length: 5 }, () => ({ input: { key: "a", runMs: 0, plan: [] as [] } })),
    );
    const from = world.calls.length;
    world.worker((host) => [handlerOn(host)], { scheduler: false });
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    const calls = world.calls.slice(from);
    const count = (verb: string): number => calls.filter((call) => call.verb === verb).length;
    // One batch, one reservation for all of it; those who wait bring their slot with them.
    expect(count("reserve")).toBe(1);
    expect(count("claimMany")).toBe(5);
    expect(count("settleMany")).toBe(5);
    expect(count("changeMany")).toBe(0);
    expect(world.of("deferred").length).toBeGreaterThanOrEqual(3);
    expect(world.of("deferred").length).toBeLessThanOrEqual(6);
    expect(starts).toHaveLength(5);
    for (const { id } of tasks) expect(world.record(id)).toMatchObject({ attempts: 1, failures: 0 });
    await world.close();
  });

  test("beyond the horizon is put back without a slot, and the refusal is remembered", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "30s", burst: 2 });
    const { task, handlerOn } = limitedTask(limit);
    await world.client.enqueueMany(
      task,
      Array.from({ length: 60 }, () => ({ input: { key: "a", runMs: 0, plan: [] as [] } })),
    );
    const from = world.calls.length;
    world.worker((host) => [handlerOn(host)], { scheduler: false, concurrency: 10 });
    await world.advance("5s");
    const reservations = world.calls.slice(from).filter(({ verb }) => verb === "reserve").length;
    expect(world.of("deferred").length).toBeGreaterThan(50);
    expect(reservations).toBeLessThanOrEqual(2);
    const delays = world.of("deferred").map(({ delayMs }) => delayMs);
    expect(Math.max(...delays)).toBeLessThanOrEqual(900_000);
    // Spread out, so that the crowd does not come back at once.
    expect(new Set(delays.map((delay) => Math.round(delay / 1_000))).size).toBeGreaterThan(15);
    await world.close();
  });

  test("can never die of waiting: a week of it is no failure", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "1h", burst: 1 });
    const { task, starts, handlerOn } = limitedTask(limit);
    const scheduler = schedulerOf(world);
    world.worker((host) => [handlerOn(host)], { scheduler: false });
    const tasks = await world.client.enqueueMany(
      task,
      Array.from({ length: 30 }, () => ({ input: { key: "a", runMs: 0, plan: [] as [] } })),
    );
    for (let hour = 0; hour < 7 * 24 && starts.length < 30; hour++) {
      await world.advance("1h");
      await scheduler.run();
    }
    expect(starts).toHaveLength(30);
    for (const { id } of tasks)
      expect(world.record(id)).toMatchObject({ state: "succeeded", attempts: 1, failures: 0 });
    expect(
      worstBreach(
        starts.map(({ at }) => at),
        limit,
      ),
    ).toBeUndefined();
    await world.close();
  });

  test("that cannot be asked for a slot is left where it is", async () => {
    const world = await flowWorld();
    const limit = defineRateLimit({ name: "supplier", limit: 10, burst: 10 });
    const { task, starts, handlerOn } = limitedTask(limit);
    world.faults = ({ verb }) => (verb === "reserve" ? "refused" : undefined);
    world.worker((host) => [handlerOn(host)], { scheduler: false });
    const { id } = await world.client.enqueue(task, { key: "a", runMs: 0, plan: [] });
    await world.advance("3m");
    expect(starts).toHaveLength(0);
    expect(world.record(id)).toMatchObject({ state: "queued", attempts: 0 });
    world.faults = undefined;
    await world.until(() => world.record(id).state === "succeeded");
    expect(world.record(id)).toMatchObject({ attempts: 1, failures: 0 });
    await world.close();
  });
});
