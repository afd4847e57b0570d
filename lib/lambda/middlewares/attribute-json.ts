import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import type { Json } from "../../task/json.ts";

/** Writes JSON as DynamoDB's own types, as Powertools does: maps and lists stay readable in the console. */
export function marshalJson(value: Json): AttributeValue {
  if (value === null) return { NULL: true };
  if (typeof value === "string") return { S: value };
  if (typeof value === "number") return { N: String(value) };
  if (typeof value === "boolean") return { BOOL: value };
  if (Array.isArray(value)) return { L: value.map(marshalJson) };
  return { M: Object.fromEntries(Object.entries(value).map(([name, item]) => [name, marshalJson(item)])) };
}

/** Reads JSON from DynamoDB's types. What JSON cannot carry, bytes and sets, is `undefined`. */
export function unmarshalJson(stored: AttributeValue | undefined): Json | undefined {
  if (stored?.S !== undefined) return stored.S;
  if (stored?.N !== undefined) return Number(stored.N);
  if (stored?.BOOL !== undefined) return stored.BOOL;
  if (stored?.NULL === true) return null;
  if (stored?.L !== undefined) return stored.L.map((item) => unmarshalJson(item) ?? null);
  if (stored?.M === undefined) return undefined;
  const entries = Object.entries(stored.M).map(([name, item]): [string, Json] => [name, unmarshalJson(item) ?? null]);
  return Object.fromEntries(entries);
}
