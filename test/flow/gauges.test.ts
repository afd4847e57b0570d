import { describe, expect, test } from "vitest";
import { z } from "zod";
import { gaugeMetrics } from "../../lib/flow/gauges.ts";
import type { RecoverReport } from "../../lib/flow/recover.ts";
import { recover } from "../../lib/flow/recover.ts";
import { createScheduler } from "../../lib/scheduler.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { Gauges } from "../../lib/task/events.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import { GAUGE_METRICS } from "../../lib/task/metrics.ts";
import type { EventOf, FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { schedulerOf } from "../support/world-scheduler.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }), retention: "1d" });
const entries = (count: number): { input: { n: number } }[] =>
  Array.from({ length: count }, (_, n) => ({ input: { n } }));

async function dieOf(world: FlowWorld, count: number): Promise<string[]> {
  const tasks = await world.client.enqueueMany(errand, entries(count));
  const worker = world.worker([errand.handle(() => Promise.reject(new TerminalError("it is of no use")))], {
    scheduler: false,
    concurrency: 100,
  });
  await world.until(() => tasks.every(({ id }) => world.record(id).state === "dead"));
  worker.stop();
  await world.during(worker.ended);
  return tasks.map(({ id }) => id);
}

/** What a run measured, told by its report and its event alike. */
async function measure(world: FlowWorld, options: { until?: number } = {}): Promise<Gauges | undefined> {
  const told: EventOf<"scheduler-ran">[] = [];
  const scheduler = createScheduler({
    backend: world.backend,
    clock: world.clock,
    onEvent: (event) => {
      if (event.type === "scheduler-ran") told.push(event);
    },
  });
  const report: RecoverReport = await world.during(scheduler.run(options));
  expect(told.map(({ gauges }) => gauges)).toEqual([report.gauges]);
  return report.gauges;
}

describe("the scheduler measures", () => {
  test("nothing of note where there is nothing", async () => {
    const world = await flowWorld({ spec: {} });
    const gauges = await measure(world);
    expect(gauges).toEqual({
      deadTasks: 0,
      oldestOwedMs: 0,
      backlog: { critical: 0, high: 0, normal: 0, low: 0 },
    });
    expect(gauges === undefined ? {} : gaugeMetrics(gauges)).toEqual({ DeadTasks: 0, OldestTaskAge: 0 });
  });

  test("dead tasks until they are redriven or forgotten, and the time left to the oldest", async () => {
    // The store removes records a day late, and the gauge does not wait for it.
    const world = await flowWorld({ ttlLagMs: DAY_MS });
    const [first = ""] = await dieOf(world, 1);
    await world.advance("1h");
    const [second = ""] = await dieOf(world, 1);
    // The letter lives for up to 18 days, and the record a day longer.
    const end = world.record(first).expiresAt ?? 0;
    expect(end - (world.record(first).finishedAt ?? 0)).toBe(19 * DAY_MS);
    const gauges = await measure(world);
    expect(gauges).toMatchObject({ deadTasks: 2, deadTaskTimeLeftMs: end - world.clock.now() });
    expect(gauges === undefined ? {} : gaugeMetrics(gauges)).toEqual({
      DeadTasks: 2,
      DeadTaskTimeLeft: (end - world.clock.now()) / 1_000,
      OldestTaskAge: 0,
    });

    await world.client.task(errand, second).redrive();
    await world.advance("1m");
    expect(await measure(world)).toMatchObject({ deadTasks: 1 });
    await world.advance(end - world.clock.now() - MINUTE_MS);
    expect(await measure(world)).toMatchObject({ deadTasks: 1, deadTaskTimeLeftMs: MINUTE_MS });
    await world.advance("1m");
    const after = await measure(world);
    expect(after).toMatchObject({ deadTasks: 0 });
    expect(after).not.toHaveProperty("deadTaskTimeLeftMs");
  });

  test("dead tasks up to a thousand", async () => {
    const world = await flowWorld();
    await dieOf(world, 1_300);
    expect((await measure(world))?.deadTasks).toBe(1_000);
    expect(world.audit.violations).toEqual([]);
  });

  test("how overdue the oldest owed task is, and what waits in each lane", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
    await world.client.enqueue(errand, { n: 1 });
    world.faults = undefined;
    await world.advance("1h");
    await world.client.enqueue(errand, { n: 2 }, { delay: "10m" });
    expect(await measure(world)).toEqual({ deadTasks: 0, oldestOwedMs: HOUR_MS, backlog: { normal: 1 } });
    // It was sent: what is owed from then on is a look, in a quarter of an hour.
    await world.advance("1m");
    expect(await measure(world)).toEqual({ deadTasks: 0, oldestOwedMs: 0, backlog: { normal: 2 } });
  });

  test("also what it has no messages left for", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
    const tasks = await world.client.enqueueMany(errand, entries(40));
    world.faults = undefined;
    await world.advance("10m");
    const scheduler = schedulerOf(world);
    for (let run = 0; run < 3; run++) {
      expect(await scheduler.run({ maxResends: 1 })).toMatchObject({
        resent: 1,
        gauges: { oldestOwedMs: (10 + run) * MINUTE_MS },
      });
      await world.advance("1m");
    }
    expect(tasks).toHaveLength(40);
  });
});

describe("a run that", () => {
  test("is skipped measures nothing", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await scheduler.run();
    const from = world.calls.length;
    expect(await scheduler.run()).toEqual({ skipped: true, owed: 0, resent: 0, visited: 0, buried: 0 });
    expect(world.calls.slice(from).map(({ verb }) => verb)).toEqual(["readDocument"]);
  });

  test("has no time measures nothing, and the next one everything", async () => {
    const world = await flowWorld();
    await dieOf(world, 3);
    expect(await measure(world, { until: world.clock.now() })).toBeUndefined();
    await world.advance("1m");
    expect(await measure(world)).toMatchObject({ deadTasks: 3 });
  });

  test("stops itself at its time has measured all the same, and the next one goes on", async () => {
    const world = await flowWorld();
    await dieOf(world, 3);
    world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
    await world.client.enqueueMany(errand, entries(900));
    world.faults = undefined;
    await world.advance("5m");
    const scheduler = schedulerOf(world);
    world.faults = ({ verb, target }) => {
      if (verb === "query" && target === "owed") world.clock.advance(20_000);
      return undefined;
    };
    const reports: RecoverReport[] = [];
    for (let run = 0; run < 8; run++) {
      const until = world.clock.now() + 50_000;
      reports.push(await scheduler.run({ until, maxResends: 5_000 }));
      // The query that is under way when its time comes is its last.
      expect(world.clock.now() - until).toBeLessThan(20_000);
      await world.advance("1m");
    }
    expect(reports[0]?.resent).toBeLessThan(400);
    expect(reports[0]?.gauges?.oldestOwedMs).toBe(5 * MINUTE_MS);
    expect(reports.map(({ gauges }) => gauges?.deadTasks)).toEqual(reports.map(() => 3));
    expect(reports.reduce((sum, { resent }) => sum + resent, 0)).toBe(900);
  });

  test("fails in one of its steps tells what it measured in the others", async () => {
    const world = await flowWorld();
    await dieOf(world, 2);
    const scheduler = schedulerOf(world);
    const told: EventOf<"scheduler-ran">[] = [];
    const services = {
      ...scheduler.services,
      emit: (event: Parameters<typeof scheduler.services.emit>[0]) => {
        if (event.type === "scheduler-ran") told.push({ at: world.clock.now(), ...event });
      },
    };
    world.faults = ({ verb, target }) => (verb === "receive" && target === "normal-dlq" ? "refused" : undefined);
    await expect(world.during(recover(services, { holder: "one" }))).rejects.toMatchObject({
      code: "BACKEND_UNAVAILABLE",
    });
    expect(told).toMatchObject([{ failures: 1, gauges: { deadTasks: 2 } }]);

    await world.advance("1m");
    world.faults = ({ verb, target }) => (verb === "query" && target === "dead" ? "refused" : undefined);
    await expect(world.during(recover(services, { holder: "one" }))).rejects.toMatchObject({
      code: "BACKEND_UNAVAILABLE",
    });
    expect(told[1]).toMatchObject({ failures: 1, owed: 0 });
    expect(told[1]?.gauges).toBeUndefined();
  });
});

test("every gauge's metric has a value", () => {
  const gauges: Gauges = { deadTasks: 1, deadTaskTimeLeftMs: 2_000, oldestOwedMs: 3_000, backlog: {} };
  expect(Object.keys(gaugeMetrics(gauges)).sort()).toEqual(Object.keys(GAUGE_METRICS).sort());
});
