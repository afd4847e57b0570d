import { utf8Bytes } from "./json.ts";
import type { Item } from "./record-codec.ts";

/**
 * The size of an item by DynamoDB's published rules: names and texts in UTF-8, numbers by two digits a byte and one more.
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/CapacityUnitCalculations.html
 */
export function itemBytes(item: Item): number {
  let bytes = 0;
  for (const [name, value] of Object.entries(item))
    bytes += utf8Bytes(name) + (typeof value === "string" ? utf8Bytes(value) : numberBytes(value));
  return bytes;
}

function numberBytes(value: number): number {
  // The exponent form has each significant digit once, and no zeros around them.
  const [mantissa = ""] = Math.abs(value).toExponential().split("e");
  const digits = value === 0 ? 0 : mantissa.replace(".", "").length;
  return Math.ceil(digits / 2) + 1 + (value < 0 ? 1 : 0);
}
