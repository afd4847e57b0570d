import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { Slots } from "../../lib/control/slots.ts";
import type { Lane } from "../../lib/task/lane.ts";
import { LANES } from "../../lib/task/lane.ts";

/** How many slots each lane gets where all of them have more work than there is room. */
function sharesOf(concurrency: number, lanes: readonly Lane[] = LANES): Partial<Record<Lane, number>> {
  const slots = new Slots(lanes, concurrency);
  const shares: Partial<Record<Lane, number>> = {};
  for (const lane of lanes) {
    const free = slots.free(lane, () => true);
    for (let taken = 0; taken < free; taken++) slots.take(lane);
    shares[lane] = free;
  }
  return shares;
}

function taken(slots: Slots, lane: Lane, count: number): Slots {
  for (let each = 0; each < count; each++) slots.take(lane);
  return slots;
}

const nobodyWaits = (): boolean => false;
const allWait = (): boolean => true;

describe("the slots of a worker", () => {
  test.each([
    [15, { critical: 8, high: 4, normal: 2, low: 1 }],
    [30, { critical: 16, high: 8, normal: 4, low: 2 }],
    [150, { critical: 80, high: 40, normal: 20, low: 10 }],
  ])("are shared 8:4:2:1 where every lane has work: %i", (concurrency, shares) => {
    expect(sharesOf(concurrency)).toEqual(shares);
  });

  test("leave each lane at least one, and give what rounding left over to the most urgent", () => {
    expect(sharesOf(20)).toEqual({ critical: 12, high: 5, normal: 2, low: 1 });
    expect(sharesOf(5)).toEqual({ critical: 2, high: 1, normal: 1, low: 1 });
  });

  test("are shared among the lanes that are polled", () => {
    expect(sharesOf(3, ["normal", "low"])).toEqual({ normal: 2, low: 1 });
    expect(sharesOf(7, ["normal"])).toEqual({ normal: 7 });
  });

  test("are lent to whoever has work while the others are idle, but for one that the most urgent lane keeps", () => {
    const slots = new Slots(LANES, 15);
    expect(slots.free("low", nobodyWaits)).toBe(14);
    expect(slots.free("critical", nobodyWaits)).toBe(15);
    taken(slots, "low", 14);
    expect(slots.free("low", nobodyWaits)).toBe(0);
    expect(slots.free("critical", nobodyWaits)).toBe(1);
  });

  test("are not kept for the most urgent lane once it has one in use beyond what it owns", () => {
    const slots = taken(new Slots(LANES, 15), "critical", 8);
    expect(slots.free("low", nobodyWaits)).toBe(7);
  });

  test("that come back go to a lane below its share first", () => {
    const slots = taken(new Slots(LANES, 15), "low", 14);
    taken(slots, "critical", 1);
    expect(slots.free("low", allWait)).toBe(0);
    slots.give("low");
    // One is free: the low lane is far above its own, the high lane has none of its four.
    expect(slots.free("low", (other) => other === "high")).toBe(0);
    expect(slots.free("high", allWait)).toBe(1);
  });

  test("that are fewer than the lanes are all for whoever comes", () => {
    for (const lane of LANES) expect(new Slots(LANES, 1).free(lane, allWait)).toBe(1);
    expect(new Slots(LANES, 4).free("low", nobodyWaits)).toBe(4);
  });

  test("are counted, and never below zero", () => {
    const slots = taken(new Slots(LANES, 4), "high", 2);
    expect(slots.used).toBe(2);
    for (let each = 0; each < 5; each++) slots.give("high");
    expect(slots.used).toBe(0);
  });

  test("starve no lane and never exceed their number, whoever comes and goes", () => {
    const move = fc.record({ lane: fc.constantFrom(...LANES), take: fc.boolean(), waiting: fc.subarray([...LANES]) });
    fc.assert(
      fc.property(fc.integer({ min: 4, max: 60 }), fc.array(move, { maxLength: 200 }), (concurrency, moves) => {
        const slots = new Slots(LANES, concurrency);
        for (const { lane, take, waiting } of moves) {
          if (!take) slots.give(lane);
          else if (slots.free(lane, (other) => waiting.includes(other)) > 0) slots.take(lane);
          expect(slots.used).toBeLessThanOrEqual(concurrency);
          for (const each of LANES) expect(slots.free(each, allWait)).toBeLessThanOrEqual(concurrency - slots.used);
        }
      }),
    );
  });

  test("keep a lane's own share for it while it waits, whatever the others ask for", () => {
    fc.assert(
      fc.property(fc.constantFrom(...LANES), fc.array(fc.constantFrom(...LANES), { maxLength: 100 }), (patient, asking) => {
        const slots = new Slots(LANES, 15);
        for (const lane of asking)
          if (lane !== patient && slots.free(lane, (other) => other === patient) > 0) slots.take(lane);
        expect(slots.free(patient, allWait)).toBeGreaterThanOrEqual(sharesOf(15)[patient] ?? 0);
      }),
    );
  });
});
