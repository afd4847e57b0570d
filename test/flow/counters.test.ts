import { describe, expect, test } from "vitest";
import { z } from "zod";
import { Counters } from "../../lib/flow/counters.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import type { Counter, CounterName } from "../../lib/task/counters.ts";
import { minuteOf, OTHER_TASKS } from "../../lib/task/counters.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";
import { SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import { COUNTER_RETENTION_MS, COUNTERS_PER_WRITE_MAX } from "../../lib/task/limits.ts";
import { nextTurn } from "../../lib/system.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { createScheduler } from "../../lib/scheduler.ts";

const errand = defineTask({
  name: "errand",
  input: z.object({ how: z.string() }),
  maxRetries: 1,
  backoff: { initial: "1s", factor: 1, jitter: "none" },
});
const urgent = defineTask({ name: "urgent", lane: "critical", input: z.object({}) });

/** What the ledger has counted in all. */
async function countsIn(world: FlowWorld): Promise<Record<string, Partial<Record<CounterName, number>>>> {
  const totals: Record<string, Partial<Record<CounterName, number>>> = {};
  const minutes = await world.backend.ledger.readCounters(0, world.clock.now());
  for (const { lane, task, name, count } of minutes.flatMap(({ counters }) => counters)) {
    const of = (totals[`${lane} ${task}`] ??= {});
    of[name] = (of[name] ?? 0) + count;
  }
  return totals;
}

const writesIn = (world: FlowWorld): number => world.calls.filter(({ verb }) => verb === "addCounters").length;

const handlers = [
  errand.handle(({ how }) => {
    if (how === "badly") throw new Error("it went wrong");
    if (how === "fatally") throw new TerminalError("it cannot be done");
    if (how === "sleepily") throw new SnoozeError("2h");
  }),
  urgent.handle(() => undefined),
];

describe("a worker process", () => {
  test("counts what its tasks came to, by lane and task, in a write a minute", async () => {
    const world = await flowWorld({ spec: { lanes: ["critical", "normal"] } });
    world.worker(handlers, { scheduler: false });
    await world.client.enqueueMany(
      errand,
      ["well", "well", "badly", "fatally", "sleepily"].map((how) => ({ input: { how } })),
    );
    await world.client.enqueue(urgent, {});
    await world.advance("59s");
    expect(writesIn(world)).toBe(0);
    await world.advance("16s");
    expect(writesIn(world)).toBe(1);
    expect(await countsIn(world)).toEqual({
      "critical urgent": { started: 1, succeeded: 1 },
      // The one that goes badly starts twice, and is dead after that.
      "normal errand": { started: 6, succeeded: 2, failed: 3, retried: 1, snoozed: 1, dead: 2 },
    });
    await world.close();
    expect(world.audit.violations).toEqual([]);
  });

  test("that is busy writes no more often than once a minute", async () => {
    const world = await flowWorld();
    world.worker(handlers, { scheduler: false });
    for (let second = 0; second < 600; second++) {
      if (second % 2 === 0) await world.client.enqueue(errand, { how: "well" });
      await world.advance("1s");
    }
    expect(writesIn(world)).toBeGreaterThanOrEqual(7);
    expect(writesIn(world)).toBeLessThanOrEqual(10);
    const minutes = await world.backend.ledger.readCounters(0, world.clock.now());
    expect(minutes.length).toBeGreaterThanOrEqual(7);
    await world.close();
    expect(await countsIn(world)).toEqual({ "normal errand": { started: 300, succeeded: 300 } });
  });

  test("that has nothing to do writes nothing, not even at its end", async () => {
    const world = await flowWorld();
    world.worker(handlers);
    await world.advance("1h");
    await world.close();
    expect(writesIn(world)).toBe(0);
  });

  test("writes what is left when it stops", async () => {
    const world = await flowWorld();
    const worker = world.worker(handlers, { scheduler: false });
    await world.client.enqueue(errand, { how: "well" });
    await world.advance("1s");
    worker.stop();
    await world.during(worker.ended);
    expect(await countsIn(world)).toEqual({ "normal errand": { started: 1, succeeded: 1 } });
    expect(world.clock.nextTimerAt()).toBeUndefined();
  });

  test("does not wait for a ledger that does not answer when it stops", async () => {
    const world = await flowWorld();
    const worker = world.worker(handlers, { scheduler: false });
    await world.client.enqueue(errand, { how: "well" });
    await world.advance("1s");
    world.faults = ({ verb }) => (verb === "addCounters" ? new Promise(() => undefined) : undefined);
    worker.stop();
    const from = world.clock.now();
    await world.during(worker.ended);
    expect(world.clock.now() - from).toBeLessThanOrEqual(3_000);
  });

  test("keeps what was not written for the next minute, hurts no task by it, and says so", async () => {
    const world = await flowWorld();
    const worker = world.worker(handlers, { scheduler: false });
    world.faults = ({ verb }) => (verb === "addCounters" ? "refused" : undefined);
    const tasks = await world.client.enqueueMany(errand, [{ input: { how: "well" } }, { input: { how: "well" } }]);
    await world.advance("3m");
    expect(tasks.map(({ id }) => world.record(id).state)).toEqual(["succeeded", "succeeded"]);
    expect(await countsIn(world)).toEqual({});
    expect(worker.events.filter(({ type }) => type === "counters-failed").length).toBeGreaterThanOrEqual(2);
    expect(worker.log).toContainEqual(expect.objectContaining({ level: "warn", message: "counters failed" }));
    world.faults = undefined;
    await world.client.enqueue(errand, { how: "well" });
    await world.advance("75s");
    expect(await countsIn(world)).toEqual({ "normal errand": { started: 3, succeeded: 3 } });
    await world.close();
  });

  test("counts twice at worst what it got no answer for", async () => {
    const world = await flowWorld();
    world.worker(handlers, { scheduler: false });
    let lost = 0;
    world.faults = ({ verb }) => (verb === "addCounters" && lost++ === 0 ? "unanswered" : undefined);
    await world.client.enqueue(errand, { how: "well" });
    await world.advance("5m");
    expect(await countsIn(world)).toEqual({ "normal errand": { started: 2, succeeded: 2 } });
    await world.close();
  });

  test("counts crashes of others, deferrals, and what the scheduler in it buries", async () => {
    const world = await flowWorld();
    const doomed = world.worker((host) => [errand.handle(() => host.pause(3_600_000))], {
      scheduler: false,
      lease: "10s",
    });
    await world.client.enqueue(errand, { how: "well" });
    await world.until(() => world.of("attempt-started").length === 1);
    doomed.host.kill();
    world.worker([errand.handle(() => undefined)], { lease: "10s" });
    await world.until(() => world.of("attempt-ended").length === 1);
    const strange = defineTask({ name: "strange", input: z.object({}) });
    await world.client.enqueue(strange, {});
    await world.until(() => world.of("deferred").length > 0);
    await world.advance("2m");
    const counts = await countsIn(world);
    // The killed process took its last minute with it.
    expect(counts["normal errand"]).toMatchObject({ crashed: 1, started: 1, succeeded: 1 });
    expect(counts["normal strange"]?.deferred).toBeGreaterThanOrEqual(1);
    await world.close();
  });
});

test("a scheduler of its own counts the tasks that it buries", async () => {
  const world = await flowWorld();
  const scheduler = createScheduler({ backend: world.backend, clock: world.clock, random: seededRandom(3) });
  await world.during(scheduler.run());
  expect(writesIn(world)).toBe(0);
  await world.backend.queue.send({ lane: "normal", dead: true }, [{ body: "no envelope" }]);
  await world.advance("1m");
  expect(await world.during(scheduler.run())).toMatchObject({ buried: 1 });
  expect(writesIn(world)).toBe(1);
  expect(Object.values(await countsIn(world))).toEqual([{ dead: 1 }]);
});

describe("counters of a function", () => {
  const at = Date.UTC(2026, 0, 1, 12, 0, 30);
  const started = (task: string): TasklaneEvent => ({
    type: "attempt-started",
    at,
    attempt: 1,
    waitMs: 0,
    taskId: "id",
    task,
    lane: "normal",
  });

  function open(next?: (event: TasklaneEvent) => void): {
    clock: ManualClock;
    counters: Counters;
    writes: { minute: number; counters: readonly Counter[]; expiresAt: number }[];
    fail(error: Error | undefined): void;
    setBack(ms: number): void;
  } {
    const clock = new ManualClock(at);
    let backMs = 0;
    const shown: Clock = {
      now: () => clock.now() - backMs,
      monotonic: () => clock.monotonic(),
      timer: (ms, callback) => clock.timer(ms, callback),
    };
    const writes: { minute: number; counters: readonly Counter[]; expiresAt: number }[] = [];
    let failure: Error | undefined;
    const ledger = {
      addCounters: async (minute: number, counters: readonly Counter[], expiresAt: number): Promise<void> => {
        if (failure !== undefined) throw failure;
        writes.push({ minute, counters, expiresAt });
      },
    };
    const counters = new Counters({ ledger, clock: shown, random: seededRandom(1) }, next);
    return {
      clock,
      counters,
      writes,
      fail: (error) => {
        failure = error;
      },
      setBack: (ms) => {
        backMs = ms;
      },
    };
  }

  test("are due at the first invocation that counts, and then when a minute has passed", async () => {
    const { clock, counters, writes } = open();
    expect(counters.due()).toBe(false);
    counters.listener(started("a"));
    expect(counters.due()).toBe(true);
    await counters.flush();
    const minute = minuteOf(at);
    expect(writes).toEqual([
      {
        minute,
        counters: [{ lane: "normal", task: "a", name: "started", count: 1 }],
        expiresAt: minute + COUNTER_RETENTION_MS,
      },
    ]);
    counters.listener(started("a"));
    clock.advance(59_999);
    expect(counters.due()).toBe(false);
    clock.advance(1);
    expect(counters.due()).toBe(true);
    await counters.flush();
    clock.advance(600_000);
    expect(counters.due()).toBe(false);
    await counters.flush();
    // The second was counted in the first minute too.
    expect(writes.map(({ minute: each }) => each - minute)).toEqual([0, 0]);
    // Nothing wakes a frozen environment up.
    expect(clock.nextTimerAt()).toBeUndefined();
  });

  test("hand every event on, and never throw, whatever the ledger and the listener do", async () => {
    const seen: string[] = [];
    const { clock, counters, writes, fail } = open(({ type }) => {
      seen.push(type);
      if (type === "counters-failed") throw new Error("a listener of no use");
    });
    counters.listener({ type: "worker-started", at, lanes: ["normal"], concurrency: 1 });
    expect(counters.due()).toBe(false);
    counters.listener(started("a"));
    fail(new TasklaneError("PERMISSION_DENIED", { what: "no" }));
    await counters.flush();
    expect(seen).toEqual(["worker-started", "attempt-started", "counters-failed"]);
    // It is not tried again at once.
    expect(counters.due()).toBe(false);
    clock.advance(60_000);
    fail(undefined);
    counters.listener(started("a"));
    await counters.flush();
    expect(writes).toMatchObject([{ counters: [{ count: 2 }] }]);
  });

  test("keep the time at which they were counted, however long the function slept before it wrote them", async () => {
    const { clock, counters, writes } = open();
    counters.listener(started("a"));
    await counters.flush();
    counters.listener(started("b"));
    clock.advance(40 * 60_000);
    counters.listener(started("c"));
    await counters.flush();
    expect(writes.map(({ minute, counters: [first] }) => [minute - minuteOf(at), first?.task])).toEqual([
      [0, "a"],
      [0, "b"],
      [40 * 60_000, "c"],
    ]);
  });

  test("keep the time at which they were counted, though the clock was set back in between", async () => {
    const { setBack, counters, writes } = open();
    counters.listener(started("a"));
    setBack(40 * 60_000);
    counters.listener(started("b"));
    await counters.flush();
    expect(writes.map(({ minute, counters: [first] }) => [minute - minuteOf(at), first?.task])).toEqual([
      [0, "a"],
      [-40 * 60_000, "b"],
    ]);
  });

  test("keep few minutes apart while the ledger takes none, and lose no count", async () => {
    const { clock, counters, writes, fail } = open();
    fail(new TasklaneError("BACKEND_UNAVAILABLE", { what: "no" }));
    for (let minute = 0; minute < 100; minute++) {
      counters.listener(started("a"));
      await counters.flush();
      clock.advance(60_000);
    }
    fail(undefined);
    await counters.flush();
    expect(writes.length).toBeLessThanOrEqual(10);
    expect(writes.flatMap(({ counters: all }) => all).reduce((sum, { count }) => sum + count, 0)).toBe(100);
  });

  test("write once at a time, and lose nothing that is counted meanwhile", async () => {
    const { counters, writes } = open();
    counters.listener(started("a"));
    const both = [counters.flush(), counters.flush()];
    counters.listener(started("b"));
    await Promise.all(both);
    await nextTurn();
    await counters.flush();
    expect(writes.map(({ counters: [first] }) => first)).toMatchObject([
      { task: "a", count: 1 },
      { task: "b", count: 1 },
    ]);
  });

  test("stay few, however many names a stranger invents", async () => {
    const { counters, writes } = open();
    for (let n = 0; n < 5_000; n++) counters.listener(started(`name-${n}`));
    await counters.flush();
    const [write] = writes;
    expect(write?.counters.length).toBeLessThanOrEqual(COUNTERS_PER_WRITE_MAX);
    expect(write?.counters.reduce((sum, { count }) => sum + count, 0)).toBe(5_000);
    expect(write?.counters.some(({ task }) => task === OTHER_TASKS)).toBe(true);
  });
});
