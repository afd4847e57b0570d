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

  test("that the others own do not touch the one that the most urgent lane keeps, though lent ones are out", () => {
    const slots = taken(new Slots(LANES, 15), "high", 10);
    expect(slots.free("normal", allWait)).toBe(2);
    taken(slots, "normal", 2);
    expect(slots.free("low", allWait)).toBe(1);
    taken(slots, "low", 1);
    expect(slots.free("normal", nobodyWaits)).toBe(1);
    taken(slots, "normal", 1);
    for (const lane of ["high", "normal", "low"] as const) expect(slots.free(lane, nobodyWaits)).toBe(0);
    expect(slots.free("critical", allWait)).toBe(1);
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
    slots.give("low");
    // Two are free, one of them kept for what is critical: the low lane is far above its own, the high lane has none of its four.
    expect(slots.free("low", (other) => other === "high")).toBe(0);
    expect(slots.free("high", allWait)).toBe(1);
    expect(slots.free("critical", allWait)).toBe(2);
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

  test("owe a lane that waits its own share, but for what is lent out at the moment and what the most urgent lane keeps", () => {
    const own = sharesOf(15);
    fc.assert(
      fc.property(
        fc.constantFrom(...LANES),
        fc.array(fc.constantFrom(...LANES), { maxLength: 100 }),
        (patient, asking) => {
          const slots = new Slots(LANES, 15);
          const used = { critical: 0, high: 0, normal: 0, low: 0 };
          for (const lane of asking) {
            if (lane === patient || slots.free(lane, (other) => other === patient) === 0) continue;
            slots.take(lane);
            used[lane]++;
          }
          const lent = LANES.reduce((sum, lane) => sum + Math.max(0, used[lane] - (own[lane] ?? 0)), 0);
          const kept = patient === "critical" ? 0 : 1;
          expect(slots.free(patient, allWait)).toBeGreaterThanOrEqual((own[patient] ?? 0) - lent - kept);
          // Nobody borrows while that would touch the share of one who waits.
          const owned = LANES.every((lane) => used[lane] <= (own[lane] ?? 0));
          expect(!owned || slots.free(patient, allWait) >= (own[patient] ?? 0) - kept).toBe(true);
        },
      ),
    );
  });
});
