import { describe, expect, test } from "vitest";
import type { TaskCounts } from "../../lib/flow/counters-fold.ts";
import { foldCounts } from "../../lib/flow/counters-fold.ts";
import type { Counter } from "../../lib/task/counters.ts";
import {
  COUNTER_NAMES,
  counterAttribute,
  counterKey,
  countedStretch,
  countersOf,
  minuteOf,
  minuteOfKey,
  OTHER_TASKS,
} from "../../lib/task/counters.ts";
import { LANES } from "../../lib/task/lane.ts";
import { COUNTER_RETENTION_MS, COUNTERS_PER_WRITE_MAX } from "../../lib/task/limits.ts";

const NOON = Date.UTC(2026, 5, 30, 12);

describe("a minute's item", () => {
  test("has a key that nobody else's has, and that can be read", () => {
    expect(counterKey(NOON + 59_999)).toEqual({ partition: "c#2026-06-30", sort: "12:00" });
    expect(minuteOfKey("c#2026-06-30", "12:00")).toBe(NOON);
    expect(minuteOf(NOON + 59_999)).toBe(NOON);
  });

  test("holds each lane, task and name apart, and is read without what a later version adds", () => {
    const counters = LANES.flatMap((lane) =>
      COUNTER_NAMES.map((name, count): Counter => ({ lane, task: "a:b", name, count: count + 1 })),
    );
    const item = Object.fromEntries(counters.map((counter) => [counterAttribute(counter), counter.count]));
    expect(Object.keys(item)).toHaveLength(32);
    const read = countersOf({ pk: "c#2026-06-30", sk: "12:00", x: 1, "n?:new": 5, "q:": 1, "ns:text": "t", ...item });
    expect(read).toHaveLength(32);
    expect(read).toEqual(expect.arrayContaining(counters));
  });

  test("is looked for day by day, and no longer back than it is kept", () => {
    expect(countedStretch(NOON, NOON + 3_600_000)).toEqual([
      { partition: "c#2026-06-30", first: "12:00", last: "13:00" },
    ]);
    const days = countedStretch(0, NOON);
    expect(days).toHaveLength(16);
    expect(days[0]).toEqual({ partition: "c#2026-06-15", first: "12:00", last: "23:59" });
    expect(days.at(-1)).toEqual({ partition: "c#2026-06-30", first: "00:00", last: "12:00" });
    expect(NOON - COUNTER_RETENTION_MS).toBe(Date.UTC(2026, 5, 15, 12));
    expect(countedStretch(NOON + 1, NOON)).toEqual([]);
  });
});

describe("a write of counters", () => {
  const busy = (task: string, started: number, lane: TaskCounts["lane"] = "normal"): TaskCounts => ({
    lane,
    task,
    counts: { started, succeeded: started },
  });

  test("names every task while there is room", () => {
    const all = Array.from({ length: COUNTERS_PER_WRITE_MAX / 2 }, (_, n) => busy(`task-${n}`, n + 1));
    const written = foldCounts(all, COUNTERS_PER_WRITE_MAX);
    expect(written).toHaveLength(COUNTERS_PER_WRITE_MAX);
    expect(written.some(({ task }) => task === OTHER_TASKS)).toBe(false);
  });

  test("adds up the least busy ones where there is none, each lane's for itself, and loses no count", () => {
    const all = [
      ...Array.from({ length: 300 }, (_, n) => busy(`task-${n}`, n + 1)),
      busy("rare", 1, "critical"),
      busy(OTHER_TASKS, 5_000),
    ];
    const written = foldCounts(all, COUNTERS_PER_WRITE_MAX);
    expect(written.length).toBeLessThanOrEqual(COUNTERS_PER_WRITE_MAX);
    expect(written.length).toBeGreaterThan(250);
    const sum = (counters: readonly Counter[]): number =>
      counters.filter(({ name }) => name === "started").reduce((total, { count }) => total + count, 0);
    expect(sum(written)).toBe((300 * 301) / 2 + 1 + 5_000);
    const named = written.filter(({ task }) => task !== OTHER_TASKS);
    expect(named[0]).toMatchObject({ task: "task-299", count: 300 });
    expect(Math.min(...named.map(({ count }) => count))).toBe(300 - named.length / 2 + 1);
    expect(written.filter(({ task, lane }) => task === OTHER_TASKS && lane === "critical")).toEqual([
      { lane: "critical", task: OTHER_TASKS, name: "started", count: 1 },
      { lane: "critical", task: OTHER_TASKS, name: "succeeded", count: 1 },
    ]);
  });

  test("has room for all that can be counted of other tasks", () => {
    const counts = Object.fromEntries(COUNTER_NAMES.map((name) => [name, 1]));
    const all = LANES.flatMap((lane) => Array.from({ length: 50 }, (_, n) => ({ lane, task: `task-${n}`, counts })));
    expect(foldCounts(all, COUNTERS_PER_WRITE_MAX).length).toBeLessThanOrEqual(COUNTERS_PER_WRITE_MAX);
  });
});
