import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { SnoozeError } from "../../lib/task/handler-errors.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { isFinal } from "../../lib/task/states.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { depthOf, purge, schedulerOf } from "../support/world-scheduler.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }), timeout: "11h" });

const entries = (count: number): { input: { n: number } }[] =>
  Array.from({ length: count }, (_, n) => ({ input: { n } }));

/** Puts a message into the lane that nobody claims, so that the lane is never empty; answers how to take it out again. */
async function keepBusy(world: FlowWorld): Promise<() => Promise<void>> {
  await world.backend.queue.send({ lane: "normal" }, [{ body: "a message in the way" }]);
  const [message] = await world.backend.queue.receive(
    { lane: "normal" },
    { max: 1, waitMs: 0, visibilityMs: 12 * HOUR_MS },
  );
  return async () => {
    await world.backend.queue.acknowledge({ lane: "normal" }, [message?.receipt ?? ""]);
  };
}

describe("a task whose message is lost", () => {
  test("F21 is found by the pass at ten minutes, if even the mark was lost", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    world.faults = ({ verb }) => (verb === "send" || verb === "changeMany" ? "refused" : undefined);
    const start = world.clock.now();
    const task = await world.client.enqueue(errand, { n: 1 });
    world.faults = undefined;
    expect(world.record(task.id).owedAt).toBeUndefined();
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await scheduler.runEach(12);
    const [resent] = scheduler.resent(task.id);
    expect(resent).toMatchObject({ because: "lost" });
    expect(resent?.at).toBe(start + 10 * MINUTE_MS);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    await world.close();
  });

  test.each([
    { pass: "ten minutes", freeAtMs: 0, ageMs: 10 * MINUTE_MS, everyMs: MINUTE_MS, because: "lost" },
    { pass: "one hour", freeAtMs: 30 * MINUTE_MS, ageMs: HOUR_MS, everyMs: 5 * MINUTE_MS, because: "lost" },
    { pass: "twelve hours", freeAtMs: 3 * HOUR_MS, ageMs: 12 * HOUR_MS, everyMs: HOUR_MS, because: "lost" },
    { pass: "three days", freeAtMs: 4 * DAY_MS, ageMs: 3 * DAY_MS, everyMs: HOUR_MS, because: "retention" },
  ])("is sent again at $pass if the lane was not seen empty before", async ({ freeAtMs, ageMs, everyMs, because }) => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    const start = world.clock.now();
    await purge(world);
    let free = await keepBusy(world);
    if (freeAtMs === 0) await free();
    const stepMs = ageMs > HOUR_MS ? 10 * MINUTE_MS : MINUTE_MS;
    while (scheduler.resent(task.id).length === 0 && world.clock.now() < start + 4 * DAY_MS) {
      await scheduler.run();
      if (freeAtMs > 0 && world.clock.now() >= start + freeAtMs) await free();
      // What is in the way must not be seen by anybody, and is kept out of sight for twelve hours at most.
      else if (freeAtMs > 0 && (world.clock.now() - start) % (6 * HOUR_MS) === 0) {
        await free();
        free = await keepBusy(world);
      }
      await world.advance(stepMs);
    }
    const age = (scheduler.resent(task.id)[0]?.at ?? 0) - start;
    expect(scheduler.resent(task.id)).toMatchObject([{ because, resends: 1 }]);
    expect(age).toBeGreaterThanOrEqual(ageMs);
    expect(age).toBeLessThan(ageMs + everyMs + stepMs);
    await world.close();
  });

  test("is sent again only once the lane was empty on two runs in a row", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    await purge(world);
    const free = await keepBusy(world);
    await scheduler.runEach(8);
    await free();
    // The ninth minute is the first empty one, so the pass of the tenth finds two.
    await scheduler.runEach(1);
    await world.advance("1m");
    expect(scheduler.resent(task.id)).toHaveLength(0);
    await scheduler.run();
    expect(scheduler.resent(task.id)).toHaveLength(1);
    await world.close();
  });

  test("is passed by where the lane was empty only once, and found by the next pass", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    await purge(world);
    const free = await keepBusy(world);
    await scheduler.runEach(9);
    await free();
    await world.advance("1m");
    await scheduler.runEach(40);
    expect(scheduler.resent(task.id)).toHaveLength(0);
    await world.advance("1m");
    await scheduler.runEach(16);
    expect(scheduler.resent(task.id)).toMatchObject([{ because: "lost" }]);
    await world.close();
  });

  test("is sent again even if the first try is not taken", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    await purge(world);
    await scheduler.runEach(9);
    await world.advance("1m");
    world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
    expect(await scheduler.run()).toMatchObject({ visited: 1, resent: 0 });
    world.faults = undefined;
    await world.advance("1m");
    expect(await scheduler.run()).toMatchObject({ resent: 1 });
    expect(await depthOf(world)).toBe(1);
    expect(world.record(task.id).resends).toBe(1);
    await world.close();
  });
});

describe("the walk over the creation index", () => {
  test("looks at each task once in each pass, and sends nothing while messages wait", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    let visited = 0;
    for (let n = 0; n < 40; n++) {
      await world.client.enqueue(errand, { n });
      visited += (await scheduler.run()).visited;
      await world.advance("1m");
    }
    for (const report of await scheduler.runEach(12)) visited += report.visited;
    expect(visited).toBe(40);
    await world.advance("1m");
    for (const report of await scheduler.runEach(70)) visited += report.visited;
    expect(visited).toBe(80);
    expect(scheduler.resent()).toEqual([]);
    await world.close();
  });

  test("stops at its time and goes on there, also within one millisecond's tasks", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const tasks = await world.client.enqueueMany(errand, entries(2_500));
    for (let n = 0; n < 5; n++) {
      await world.advance(1);
      tasks.push(...(await world.client.enqueueMany(errand, entries(100))));
    }
    await purge(world);
    await scheduler.run();
    await world.advance("11m");
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    let queries = 0;
    world.faults = ({ verb, target }) => {
      // Dead tasks are counted beside the work.
      if (verb !== "query" || target === "dead") return undefined;
      queries++;
      // Twenty queries and the run is over: far fewer than it takes.
      world.clock.advance(2_500);
      return undefined;
    };
    let runs = 0;
    const left = (): number => tasks.filter(({ id }) => world.record(id).state !== "succeeded").length;
    for (; left() > 0 && runs < 40; runs++) {
      await scheduler.begin({ maxResends: 10_000 });
      await world.advance("1m");
    }
    expect(queries / runs).toBeLessThan(25);
    expect(runs).toBeGreaterThan(3);
    expect(left()).toBe(0);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("sends no more than the limit of a run, and loses none of the rest", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const tasks = [];
    for (let n = 0; n < 6; n++) {
      tasks.push(...(await world.client.enqueueMany(errand, entries(50))));
      await world.advance(1);
    }
    await purge(world);
    await scheduler.runEach(10, MINUTE_MS, { maxResends: 70 });
    const reports = [];
    for (let minute = 0; minute < 6; minute++) {
      await world.advance("1m");
      reports.push(await scheduler.run({ maxResends: 70 }));
    }
    const counts = reports.map(({ resent }) => resent);
    expect(Math.max(...counts)).toBeLessThanOrEqual(70);
    expect(scheduler.resent()).toHaveLength(300);
    // Nobody took anything out of the lane meanwhile: those that did not go at once were owed, and went all the same.
    expect(new Set(scheduler.resent().map(({ taskId }) => taskId)).size).toBe(300);
    expect(await depthOf(world)).toBe(300);
    expect(tasks).toHaveLength(300);
    await world.close();
  });

  test("keeps its place within one write unit", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await scheduler.runEach(3);
    const { value, version } = await world.backend.ledger.readDocument("scheduler");
    expect(version).toBe(8);
    expect(itemBytes({ pk: "d#scheduler", sk: "-", v: value, n: version })).toBeLessThanOrEqual(1_024);
    await world.close();
  });

  test("leaves nobody behind: after the last pass all that is not final is owed a look", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const snoozer = defineTask({ name: "snoozer", input: z.object({}) });
    world.worker(
      (host) => [
        errand.handle((_, ctx) => host.pause(10 * HOUR_MS, ctx.signal)),
        snoozer.handle(() => {
          throw new SnoozeError("14m");
        }),
      ],
      { scheduler: false },
    );
    await world.advance("5m");
    const [waiting] = await world.client.enqueueMany(errand, entries(1));
    const [snoozing] = await world.client.enqueueMany(snoozer, [{ input: {} }]);
    // Its attempts end in a failure after ten hours each, so that one runs when the pass comes by.
    await scheduler.runEach((3 * DAY_MS) / (10 * MINUTE_MS) + 12, 10 * MINUTE_MS);
    for (const task of [waiting, snoozing]) {
      const record = world.record(task?.id ?? "");
      expect(isFinal(record.state) || record.owedAt !== undefined).toBe(true);
    }
    expect(world.record(snoozing?.id ?? "").state).not.toBe("dead");
    await world.close();
  });

  test("does not take a move for the end: what the last pass could not write is looked at again", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const free = await keepBusy(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    await scheduler.runEach(72, HOUR_MS);
    let refusals = 0;
    world.faults = ({ verb, target }) =>
      verb === "changeMany" && target === task.id && refusals++ === 0 ? "refused" : undefined;
    await world.advance("1h");
    await scheduler.run();
    if (refusals === 0) {
      await world.advance("1h");
      await scheduler.run();
    }
    expect(refusals).toBeGreaterThan(0);
    await world.advance("1m");
    await scheduler.run();
    expect(world.record(task.id).owedAt).toBeDefined();
    await free();
    await world.close();
  });
});

describe("a queue that loses its messages", () => {
  test("F35 purged in the middle of a run, at a limited rate, still ends every task once", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    world.worker((host) => [errand.handle((_, ctx) => host.pause(2_000, ctx.signal))], {
      scheduler: false,
      concurrency: 5,
    });
    await world.settle();
    const tasks = await world.client.enqueueMany(errand, entries(400));
    await world.advance("30s");
    const done = (): number => tasks.filter(({ id }) => world.record(id).state === "succeeded").length;
    const before = done();
    expect(before).toBeGreaterThan(20);
    expect(await purge(world)).toBeGreaterThan(250);
    const reports = await scheduler.runEach(25, MINUTE_MS, { maxResends: 100 });
    expect(done()).toBe(400);
    expect(Math.max(...reports.map(({ resent }) => resent))).toBeLessThanOrEqual(100);
    for (const { id } of tasks) {
      expect(world.of("attempt-started", id)).toHaveLength(1);
      expect(world.audit.commitsOf(id)).toBe(1);
    }
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("F36 keeps every task of a backlog of five days, though SQS keeps messages for four", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const tasks = await world.client.enqueueMany(errand, entries(25));
    await scheduler.runEach((5 * DAY_MS) / (10 * MINUTE_MS), 10 * MINUTE_MS);
    const retention = scheduler.resent().filter(({ because }) => because === "retention");
    expect(new Set(retention.map(({ taskId }) => taskId)).size).toBe(25);
    for (const { at } of retention)
      expect(at - (tasks.length > 0 ? world.record(retention[0]?.taskId ?? "").createdAt : 0)).toBeGreaterThanOrEqual(
        3 * DAY_MS,
      );
    for (const { id } of tasks) expect(world.record(id).state).toBe("queued");

    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    for (const { id } of tasks) {
      expect(world.of("attempt-started", id)).toHaveLength(1);
      expect(world.audit.commitsOf(id)).toBe(1);
    }
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("an idle minute", () => {
  test("writes the scheduler's own document twice, and nothing else", async () => {
    const world = await flowWorld({ spec: {} });
    const scheduler = schedulerOf(world);
    await scheduler.runEach(2);
    await world.advance("1m");
    const from = world.calls.length;
    expect(await scheduler.run()).toMatchObject({ skipped: false, owed: 0, resent: 0, visited: 0, buried: 0 });
    const counts: Record<string, number> = {};
    for (const { verb } of world.calls.slice(from)) counts[verb] = (counts[verb] ?? 0) + 1;
    // Four shards of what is owed, four of dead tasks and sixteen of the pass at ten minutes; a look at each lane and its dead letters.
    expect(counts).toEqual({ readDocument: 1, writeDocument: 2, query: 24, depth: 4, receive: 4 });
    await world.close();
  });
});
