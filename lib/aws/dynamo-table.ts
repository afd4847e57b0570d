import type { DynamoDBClient, UpdateItemCommandInput } from "@aws-sdk/client-dynamodb";
import { BatchGetItemCommand, GetItemCommand, PutItemCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import type { Clock, Random } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Item } from "../task/record-codec.ts";
import { isNamed, isUnanswered, toTasklaneError } from "./aws-errors.ts";
import type { ItemKey, StoredItem } from "./dynamo-item.ts";
import { keyOfItem, keyText, marshalItem, marshalKey, unmarshalItem } from "./dynamo-item.ts";
import { fanOut } from "./fan-out.ts";

/** DynamoDB's largest batch of reads. */
const BATCH_GET_MAX_KEYS = 100;
/** What a batch read left out is asked for again so often. */
const UNPROCESSED_TRIES_MAX = 8;
/** The longest wait before the first of these; doubles with each further one. */
const UNPROCESSED_WAIT_MS = 50;

/** The table, and what waiting takes. */
export interface DynamoTable {
  readonly client: DynamoDBClient;
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
}

/** One write under a condition. Values stand for `:name` in its expressions. */
export interface ConditionalWrite {
  readonly key: ItemKey;
  readonly change: { readonly put: Item } | { readonly update: string };
  /** Absent for the few writes that may replace whatever is there. */
  readonly condition?: string | undefined;
  readonly values: Item;
  /** What a done update answers. Default: the item as it is now. */
  readonly returns?: "ALL_NEW" | "UPDATED_OLD" | undefined;
}

/** What became of a conditional write, before it is told in the port's words. */
export type WriteAnswer =
  | { readonly kind: "done"; readonly item: Item }
  /** The item as it is, if there is one. `repeated`: sent more than once, so an earlier try may be what is in the way. */
  | { readonly kind: "refused"; readonly item: Item | undefined; readonly repeated: boolean }
  /** `unanswered`: it may have been done all the same. */
  | { readonly kind: "failed"; readonly error: TasklaneError; readonly unanswered: boolean };

/**
 * Makes conditional writes, each on its own, and answers in their order. Never throws.
 *
 * The one place where batches of writes meet DynamoDB: single calls, a bounded number at a time. A batch call that keeps a
 * condition for each statement goes here, and nowhere else.
 */
export async function writeMany(table: DynamoTable, writes: readonly ConditionalWrite[]): Promise<WriteAnswer[]> {
  const answers = await fanOut(
    writes,
    ({ key }) => keyText(key),
    (write) => writeOne(table, write),
  );
  return findBlockers(table, writes, answers);
}

/** One conditional write. Never throws. */
export async function writeSingle(table: DynamoTable, write: ConditionalWrite): Promise<WriteAnswer> {
  const [answer = { kind: "failed", error: lost(table, "dynamodb:UpdateItem"), unanswered: true }] = await writeMany(
    table,
    [write],
  );
  return answer;
}

/** Reads items by their keys, in their order. @throws TasklaneError */
export async function readItems(
  table: DynamoTable,
  keys: readonly ItemKey[],
  consistent: boolean,
): Promise<(Item | undefined)[]> {
  const [only] = keys;
  if (only !== undefined && keys.length === 1) return [await readOne(table, only, consistent)];
  const wanted = [...new Map(keys.map((key) => [keyText(key), key])).values()];
  const chunks: ItemKey[][] = [];
  for (let start = 0; start < wanted.length; start += BATCH_GET_MAX_KEYS)
    chunks.push(wanted.slice(start, start + BATCH_GET_MAX_KEYS));
  const found = new Map<string, Item>();
  await fanOut(
    chunks,
    (_, place) => String(place),
    async (chunk) => {
      for (const stored of await readChunk(table, chunk, consistent)) {
        const item = unmarshalItem(stored);
        found.set(keyText(keyOfItem(item)), item);
      }
    },
  );
  return keys.map((key) => found.get(keyText(key)));
}

/** The names that an expression uses, each under itself: many of them are reserved words of DynamoDB. */
export function namesIn(...expressions: readonly string[]): Record<string, string> {
  const names: Record<string, string> = {};
  for (const [whole, name] of expressions.join(" ").matchAll(/#([a-z]+)/g)) {
    if (name !== undefined) names[whole] = name;
  }
  return names;
}

/** Writes an update expression, and the values it needs. `also` takes further clauses of SET. */
export function updateOf(set: Item, remove: readonly string[], also: readonly string[] = []): string {
  const clauses = [...Object.keys(set).map((name) => `#${name} = :${name}`), ...also];
  const setting = clauses.length === 0 ? "" : `SET ${clauses.join(", ")}`;
  const removing = remove.length === 0 ? "" : `REMOVE ${remove.map((name) => `#${name}`).join(", ")}`;
  return `${setting} ${removing}`.trim();
}

/** Marshals values under the names that expressions use. */
export function marshalValues(values: Item): StoredItem {
  return Object.fromEntries(Object.entries(marshalItem(values)).map(([name, value]) => [`:${name}`, value]));
}

async function writeOne(table: DynamoTable, write: ConditionalWrite): Promise<WriteAnswer> {
  const { change, condition } = write;
  const action = "put" in change ? "dynamodb:PutItem" : "dynamodb:UpdateItem";
  try {
    if ("put" in change) {
      await table.client.send(
        new PutItemCommand({
          TableName: table.name,
          Item: marshalItem(change.put),
          ...conditionOf(condition, namesIn(condition ?? ""), write.values),
        }),
      );
      return { kind: "done", item: change.put };
    }
    const answer = await table.client.send(
      new UpdateItemCommand({
        TableName: table.name,
        Key: marshalKey(write.key),
        UpdateExpression: change.update,
        ReturnValues: write.returns ?? "ALL_NEW",
        ...conditionOf(condition, namesIn(change.update, condition ?? ""), write.values),
      }),
    );
    return { kind: "done", item: unmarshalItem(answer.Attributes ?? {}) };
  } catch (error) {
    if (isNamed(error, "ConditionalCheckFailedException"))
      return { kind: "refused", item: itemInRefusal(error), repeated: isUnanswered(error) };
    return {
      kind: "failed",
      error: toTasklaneError(error, { action, resource: `table "${table.name}"` }),
      unanswered: isUnanswered(error),
    };
  }
}

/** The parts of a write that DynamoDB refuses when they are empty. */
function conditionOf(
  condition: string | undefined,
  names: Record<string, string>,
  values: Item,
): Pick<
  UpdateItemCommandInput,
  | "ConditionExpression"
  | "ReturnValuesOnConditionCheckFailure"
  | "ExpressionAttributeNames"
  | "ExpressionAttributeValues"
> {
  return {
    ...(condition === undefined
      ? {}
      : { ConditionExpression: condition, ReturnValuesOnConditionCheckFailure: "ALL_OLD" }),
    ...(Object.keys(names).length === 0 ? {} : { ExpressionAttributeNames: names }),
    ...(Object.keys(values).length === 0 ? {} : { ExpressionAttributeValues: marshalValues(values) }),
  };
}

/** The item that a refusal carries. Some compatible services give none. */
function itemInRefusal(error: unknown): Item | undefined {
  if (typeof error !== "object" || error === null || !("Item" in error)) return undefined;
  const { Item: stored } = error;
  return isStoredItem(stored) && Object.keys(stored).length > 0 ? unmarshalItem(stored) : undefined;
}

function isStoredItem(value: unknown): value is StoredItem {
  return typeof value === "object" && value !== null;
}

/** Reads what stood in the way of refused writes where the refusal did not tell, all of it in one go. */
async function findBlockers(
  table: DynamoTable,
  writes: readonly ConditionalWrite[],
  answers: WriteAnswer[],
): Promise<WriteAnswer[]> {
  const blind = writes.flatMap(({ key }, place) => {
    const answer = answers[place];
    return answer?.kind === "refused" && answer.item === undefined ? [{ key, place, repeated: answer.repeated }] : [];
  });
  if (blind.length === 0) return answers;
  try {
    const items = await readItems(
      table,
      blind.map(({ key }) => key),
      true,
    );
    for (const [at, { place, repeated }] of blind.entries())
      answers[place] = { kind: "refused", item: items[at], repeated };
  } catch (error) {
    const failure = toTasklaneError(error, { action: "dynamodb:GetItem", resource: `table "${table.name}"` });
    for (const { place } of blind) answers[place] = { kind: "failed", error: failure, unanswered: true };
  }
  return answers;
}

async function readOne(table: DynamoTable, key: ItemKey, consistent: boolean): Promise<Item | undefined> {
  try {
    const answer = await table.client.send(
      new GetItemCommand({ TableName: table.name, Key: marshalKey(key), ConsistentRead: consistent }),
    );
    return answer.Item === undefined ? undefined : unmarshalItem(answer.Item);
  } catch (error) {
    throw toTasklaneError(error, { action: "dynamodb:GetItem", resource: `table "${table.name}"` });
  }
}

async function readChunk(table: DynamoTable, keys: readonly ItemKey[], consistent: boolean): Promise<StoredItem[]> {
  const items: StoredItem[] = [];
  let rest: StoredItem[] = keys.map(marshalKey);
  for (let tries = 0; rest.length > 0; tries++) {
    if (tries === UNPROCESSED_TRIES_MAX) throw lost(table, "dynamodb:BatchGetItem");
    if (tries > 0) await sleep(table.clock, table.random.next() * UNPROCESSED_WAIT_MS * 2 ** (tries - 1));
    try {
      const answer = await table.client.send(
        new BatchGetItemCommand({ RequestItems: { [table.name]: { Keys: rest, ConsistentRead: consistent } } }),
      );
      items.push(...(answer.Responses?.[table.name] ?? []));
      rest = answer.UnprocessedKeys?.[table.name]?.Keys ?? [];
    } catch (error) {
      throw toTasklaneError(error, { action: "dynamodb:BatchGetItem", resource: `table "${table.name}"` });
    }
  }
  return items;
}

function lost(table: DynamoTable, action: string): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `${action} on table "${table.name}" was left unprocessed again and again`,
    fix: "the table is throttled: try again later",
  });
}
