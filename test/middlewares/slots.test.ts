import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { slotAt } from "../../lib/control/rate-limit.ts";
import type { Slotted } from "../../lib/lambda/middlewares/slots.ts";
import { chooseStart, delayUntil, delayWithoutSlot } from "../../lib/lambda/middlewares/slots.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { recordWith } from "./plain-host.ts";

describe("chooseStart", () => {
  const limit = defineRateLimit({ name: "slots", limit: 2, burst: 3 }); // slots 500 ms apart, each good for a second
  const slotted = (...startsMs: number[]): Slotted[] =>
    startsMs.map((ms) => ({ record: recordWith(`${ms}`), window: slotAt(limit, ms * 1_000) }));
  const idsOf = (records: readonly Slotted[]): string[] => records.map(({ record }) => record.messageId);

  test("starts at the latest of the slots that are all good at one time", () => {
    const { startMs, starting, waiting } = chooseStart(slotted(10_500, 10_000, 11_000, 13_000), 10_200, 2_000);
    expect([startMs, idsOf(starting), idsOf(waiting)]).toEqual([10_500, ["10000", "10500"], ["11000", "13000"]]);
  });

  test("starts at once without a slot to wait for", () => {
    expect(chooseStart(slotted(9_500), 10_000, 2_000)).toMatchObject({ startMs: 10_000, waiting: [] });
    expect(chooseStart([], 10_000, 2_000)).toEqual({ startMs: 10_000, starting: [], waiting: [] });
  });

  test("waits for as long as it may, and no longer", () => {
    expect(chooseStart(slotted(12_000), 10_000, 2_000).starting).toHaveLength(1);
    expect(chooseStart(slotted(12_001), 10_000, 2_000).starting).toHaveLength(0);
  });

  test("starts nothing outside of its slot, and leaves nothing out, whatever the slots", () => {
    const times = fc.array(fc.integer({ min: 9_000, max: 14_000 }), { maxLength: 20 });
    fc.assert(
      fc.property(times, fc.integer({ min: 0, max: 2_000 }), (startsMs, waitMs) => {
        const given = slotted(...startsMs).filter(({ window }) => window.endMs > 10_000);
        const { startMs, starting, waiting } = chooseStart(given, 10_000, waitMs);
        expect(startMs).toBeLessThanOrEqual(10_000 + waitMs);
        for (const { window } of starting) {
          expect(window.startMs).toBeLessThanOrEqual(startMs);
          expect(window.endMs).toBeGreaterThan(startMs);
        }
        expect(new Set([...starting, ...waiting])).toEqual(new Set(given));
      }),
    );
  });
});

describe("the delay of a copy", () => {
  const limit = defineRateLimit({ name: "slots", limit: 1, burst: 2 });

  test("ends one to two seconds before its slot, rounded down as SQS has it", () => {
    const earlyMs = [0, 900, 1_000, 1_999, 2_500, 59_999].map((aheadMs) => {
      const delayMs = delayUntil(slotAt(limit, (10_000 + aheadMs) * 1_000), 10_000);
      return aheadMs - Math.floor(delayMs / 1_000) * 1_000;
    });
    expect(earlyMs).toEqual([0, 900, 1_000, 1_999, 1_500, 1_999]);
  });

  test("is spread without a slot, and never above what SQS takes", () => {
    expect(delayWithoutSlot(70_000, 10_000, 0)).toBe(30_000);
    expect(delayWithoutSlot(70_000, 10_000, 1)).toBe(120_000);
    expect(delayWithoutSlot(10_000, 10_000, 0)).toBe(2_500);
    expect(delayWithoutSlot(10_000_000, 10_000, 1)).toBe(900_000);
  });
});
