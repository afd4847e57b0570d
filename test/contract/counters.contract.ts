import { describe, expect, test } from "vitest";
import type { Ledger } from "../../lib/ports/ledger.ts";
import type { Counter, MinuteCounters } from "../../lib/task/counters.ts";
import { COUNTER_NAMES, MINUTE_MS, minuteOf, OTHER_TASKS } from "../../lib/task/counters.ts";
import { LANES } from "../../lib/task/lane.ts";
import { COUNTER_RETENTION_MS, COUNTERS_PER_WRITE_MAX } from "../../lib/task/limits.ts";
import type { ContractStack } from "../support/contract-stack.ts";
import { eventually } from "../support/contract-stack.ts";

/** What the ledger contract lends: a stack that is open, and a time whose days no other test has. */
interface Lent {
  readonly stack: ContractStack;
  readonly now: number;
}

/** What every ledger adapter must do with counters. */
export function describeCounters(lend: () => Lent): void {
  describe("counters", () => {
    const ledger = (): Ledger => lend().stack.backend.ledger;
    const add = (minute: number, counters: readonly Counter[]): Promise<void> =>
      ledger().addCounters(minute, counters, minute + COUNTER_RETENTION_MS);
    const one = (count: number, place: Partial<Counter> = {}): Counter => ({
      lane: "normal",
      task: "send-receipt",
      name: "succeeded",
      ...place,
      count,
    });

    /** Reads are eventually consistent: asks until as much as expected is seen. */
    function read(from: number, until: number, sum: number): Promise<MinuteCounters[]> {
      return eventually(
        lend().stack,
        () => ledger().readCounters(from, until),
        (minutes) => sumOf(minutes) === sum,
      );
    }

    test("add up over any number of hosts that write at the same time", async () => {
      const minute = minuteOf(lend().now);
      await Promise.all(Array.from({ length: 20 }, (_, host) => add(minute, [one(host), one(1, { name: "started" })])));
      expect(await read(minute, minute, 190 + 20)).toEqual([
        { minute, counters: [one(20, { name: "started" }), one(190)] },
      ]);
    });

    test("are kept apart by lane, task and name, whatever the task is called", async () => {
      const minute = minuteOf(lend().now);
      const tasks = ["a", "size", "pk", `a${"b".repeat(63)}`, "1.2_3-4", OTHER_TASKS];
      const counters = tasks.flatMap((task, place) =>
        LANES.map((lane, at) => one(10 * place + at + 1, { task, lane, name: COUNTER_NAMES[place] ?? "dead" })),
      );
      await add(minute, counters);
      const [found] = await read(minute, minute, sumOf([{ minute, counters }]));
      expect(found?.counters).toHaveLength(counters.length);
      expect(found?.counters).toEqual(expect.arrayContaining(counters));
    });

    test("take as many in one write as the limit says", async () => {
      const minute = minuteOf(lend().now);
      const counters = Array.from({ length: COUNTERS_PER_WRITE_MAX }, (_, n) => one(n + 1, { task: `task-${n}` }));
      await add(minute, counters);
      await add(minute, counters);
      const sum = COUNTERS_PER_WRITE_MAX * (COUNTERS_PER_WRITE_MAX + 1);
      const [found] = await read(minute, minute, sum);
      expect(found?.counters).toHaveLength(counters.length);
      expect(sumOf([{ minute, counters: found?.counters ?? [] }])).toBe(sum);
    });

    test("are read by the minute, oldest first, both ends included, over midnight too", async () => {
      const midnight = Math.ceil(lend().now / 86_400_000) * 86_400_000;
      const minutes = [-2, -1, 0, 1, 1_440].map((n) => midnight + n * MINUTE_MS);
      for (const [place, minute] of minutes.toReversed().entries()) await add(minute, [one(place + 1)]);
      const told = async (from: number, until: number, sum: number): Promise<number[]> =>
        (await read(from, until, sum)).map(({ minute }) => minute);
      expect(await told(midnight - 2 * MINUTE_MS, midnight + 1_440 * MINUTE_MS, 15)).toEqual(minutes);
      expect(await told(midnight - MINUTE_MS, midnight + 59_999, 4 + 3)).toEqual(minutes.slice(1, 3));
      expect(await told(midnight - MINUTE_MS + 1, midnight, 3)).toEqual(minutes.slice(2, 3));
      expect(await told(midnight - 86_400_000, midnight - 3 * MINUTE_MS, 0)).toEqual([]);
      expect(await told(midnight, midnight - MINUTE_MS, 0)).toEqual([]);
    });

    test("are not told once their time is over", async () => {
      const minute = minuteOf(lend().stack.now()) - 3 * MINUTE_MS;
      await ledger().addCounters(minute, [one(1)], lend().stack.now() - 1_000);
      await add(minute + MINUTE_MS, [one(7)]);
      expect(await read(minute, minute + MINUTE_MS, 7)).toEqual([{ minute: minute + MINUTE_MS, counters: [one(7)] }]);
    });

    test("are in no index of tasks", async () => {
      const { now } = lend();
      await add(minuteOf(now), [one(5)]);
      for (const index of ["created", "owed", "dead"] as const)
        for (const shard of [0, 1, 2, 3]) {
          const page = await ledger().query({
            index,
            shard,
            from: now - 86_400_000,
            until: now + 86_400_000,
            limit: 10,
          });
          expect(page.entries).toEqual([]);
        }
    });
  });
}

function sumOf(minutes: readonly MinuteCounters[]): number {
  return minutes.flatMap(({ counters }) => counters).reduce((sum, { count }) => sum + count, 0);
}
