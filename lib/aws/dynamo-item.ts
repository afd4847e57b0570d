import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import { TasklaneError } from "../task/errors.ts";
import type { Item } from "../task/record-codec.ts";
import { ATTRIBUTES } from "../task/record-codec.ts";

/** An item as DynamoDB's API carries it. */
export type StoredItem = Record<string, AttributeValue>;

/** What names one item of the table. */
export interface ItemKey {
  readonly partition: string;
  readonly sort: string;
}

/** Writes an item for the API: texts and numbers are all there is. */
export function marshalItem(item: Item): StoredItem {
  const stored: StoredItem = {};
  for (const [name, value] of Object.entries(item))
    stored[name] = typeof value === "string" ? { S: value } : { N: String(value) };
  return stored;
}

/** Reads an item of the API. An attribute of another type was added by somebody else, and is left out. */
export function unmarshalItem(stored: StoredItem): Item {
  const item: Item = {};
  for (const [name, value] of Object.entries(stored)) {
    if (value.S !== undefined) item[name] = value.S;
    else if (value.N !== undefined) item[name] = Number(value.N);
  }
  return item;
}

/** Writes a key for the API. */
export function marshalKey(key: ItemKey): StoredItem {
  return marshalItem({ [ATTRIBUTES.partition]: key.partition, [ATTRIBUTES.sort]: key.sort });
}

/** One text for a key, to find items by. */
export function keyText(key: ItemKey): string {
  return `${key.partition}\n${key.sort}`;
}

/** The key of an item that was read. */
export function keyOfItem(item: Item): ItemKey {
  return { partition: textOf(item, ATTRIBUTES.partition), sort: textOf(item, ATTRIBUTES.sort) };
}

/** A text attribute. @throws TasklaneError `BACKEND_UNAVAILABLE` if the item has none of that name */
export function textOf(item: Item, name: string): string {
  const value = item[name];
  return typeof value === "string" ? value : refuse(item, name);
}

/** A number attribute. @throws TasklaneError `BACKEND_UNAVAILABLE` if the item has none of that name */
export function numberOf(item: Item, name: string): number {
  const value = item[name];
  return typeof value === "number" ? value : refuse(item, name);
}

function refuse(item: Item, name: string): never {
  throw new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `The ledger's item ${item[ATTRIBUTES.partition]} has no readable attribute "${name}"`,
    received: item[name],
    fix: "check that nothing else writes into this table",
  });
}
