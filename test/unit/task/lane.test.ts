import { describe, expect, test } from "vitest";
import { isLane, LANE_WEIGHTS, LANES } from "../../../lib/task/lane.ts";

describe("the lanes", () => {
  test("are four, most urgent first, each with half the weight of the one before", () => {
    expect(LANES).toEqual(["critical", "high", "normal", "low"]);
    expect(LANES.map((lane) => LANE_WEIGHTS[lane])).toEqual([8, 4, 2, 1]);
  });

  test("are told from other values", () => {
    expect(LANES.every(isLane)).toBe(true);
    expect(["", "Normal", "urgent", "toString", "length", 0, null, undefined, ["low"]].filter(isLane)).toEqual([]);
  });
});
