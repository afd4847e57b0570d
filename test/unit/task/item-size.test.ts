import { describe, expect, test } from "vitest";
import { itemBytes } from "../../../lib/task/item-size.ts";

/* https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html */
describe("the size of an item by DynamoDB's published rules", () => {
  test("is nothing for nothing", () => {
    expect(itemBytes({})).toBe(0);
  });

  test("counts names and texts as bytes in UTF-8", () => {
    expect(itemBytes({ name: "text" })).toBe(8);
    expect(itemBytes({ größe: "😀é" })).toBe(7 + 6);
    expect(itemBytes({ a: "" })).toBe(1);
  });

  // "approximately (length of attribute name) + (1 byte per two significant digits) + (1 byte)"
  test.each([
    [0, 1],
    [1, 2],
    [27, 2],
    [127, 3],
    [1_234, 3],
    [12_345, 4],
    [100, 2],
    [1_000_000_000_000, 2],
    [1_200_000, 2],
    [1_795_000_000_123, 8],
    [1_795_000_000_123_456, 9],
    [1e21, 2],
    [1.5e300, 2],
    [0.5, 2],
    [0.05, 2],
    [12.5, 3],
    [-27, 3],
    [-0.001, 3],
  ])("counts two digits of the number %d as a byte and one more, a sign as one: %i bytes", (value, bytes) => {
    expect(itemBytes({ n: value })).toBe(1 + bytes);
  });

  test("adds up", () => {
    expect(itemBytes({ pk: "t#1", n: 12, s: "é" })).toBe(2 + 3 + (1 + 2) + (1 + 2));
  });
});
