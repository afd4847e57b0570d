import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import type { S3Client } from "@aws-sdk/client-s3";
import type { SQSClient } from "@aws-sdk/client-sqs";
import { makeClients } from "../../lib/aws/clients.ts";
import { INDEXES } from "../../lib/task/ledger-shape.ts";
import type { StoredItem } from "../../lib/aws/dynamo-item.ts";
import { unmarshalItem } from "../../lib/aws/dynamo-item.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { utf8Bytes } from "../../lib/task/json.ts";
import { SQS_CHUNK_BYTES } from "../../lib/task/limits.ts";
import type { Item } from "../../lib/task/record-codec.ts";
import type { Topology } from "../../lib/task/topology.ts";

/** https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html */
const WRITE_UNIT_BYTES = 1_024;
const READ_UNIT_BYTES = 4_096;

/** One HTTP request, retries of the SDK counted apart, and what AWS would bill for it. */
export interface MeteredCall {
  readonly service: "sqs" | "dynamodb" | "s3";
  /** As the API calls it: `SendMessageBatch`, `UpdateItem`, `PutObject`. */
  readonly operation: string;
  /** `undefined` if there was no answer. */
  readonly status: number | undefined;
  /** The name of the error, if it was one. */
  readonly error: string | undefined;
  /** Size of the HTTP body. */
  readonly requestBytes: number;
  /** DynamoDB's write units, those of the indexes included. */
  readonly writeUnits: number;
  /** DynamoDB's read units. */
  readonly readUnits: number;
  /** SQS bills a request for each started 64 KiB of what it carries. */
  readonly sqsRequests: number;
  /** The keys of the items or objects, or how many entries a batch has. */
  readonly detail: string;
}

/** What calls come to. */
export interface MeterTotals {
  readonly calls: Readonly<Record<string, number>>;
  readonly writeUnits: number;
  readonly readUnits: number;
  readonly sqsRequests: number;
}

/** Real SDK clients that count what they send. */
export interface Meter {
  /** To be passed as `sdk`. */
  readonly sdk: { readonly sqs: SQSClient; readonly dynamodb: DynamoDBClient; readonly s3: S3Client };
  readonly calls: readonly MeteredCall[];
  /** Adds up what was counted since the last reset. */
  totals(): MeterTotals;
  reset(): void;
  close(): void;
}

/**
 * Makes clients for a topology that count HTTP requests, and work out DynamoDB's units by its published rules, since
 * emulators' own figures leave out indexes.
 *
 * Sizes before and after a write are read by a second client. Writes to one item go one after the other meanwhile, so that
 * each is charged for what it met: a metered run is slower, and shows no races.
 */
export function createMeter(topology: Topology): Meter {
  const clients = makeClients(topology);
  const unmetered = makeClients(topology);
  const lines = new Map<string, Promise<unknown>>();
  let calls: MeteredCall[] = [];

  const readItem = async (key: StoredItem): Promise<Item | undefined> => {
    const answer = await unmetered.dynamodb.send(
      new GetItemCommand({ TableName: topology.table, Key: key, ConsistentRead: true }),
    );
    return answer.Item === undefined ? undefined : unmarshalItem(answer.Item);
  };

  /** Runs one write after the other for each item, and tells the item before and after. */
  async function bracket(key: StoredItem, run: () => Promise<void>): Promise<{ before?: Item; after?: Item }> {
    const name = JSON.stringify(key);
    const turn = (lines.get(name) ?? Promise.resolve()).then(async () => {
      const before = await readItem(key);
      await run();
      const after = await readItem(key);
      return { ...(before === undefined ? {} : { before }), ...(after === undefined ? {} : { after }) };
    });
    lines.set(
      name,
      turn.catch(() => undefined),
    );
    return turn;
  }

  async function measure(
    service: MeteredCall["service"],
    operation: string,
    input: unknown,
    requestBytes: number,
    send: () => Promise<unknown>,
  ): Promise<void> {
    let output: unknown;
    let failure: unknown;
    const run = async (): Promise<void> => {
      try {
        output = await send();
      } catch (error) {
        failure = error;
      }
    };
    const key = service === "dynamodb" ? writtenKey(operation, input) : undefined;
    let writeUnits = 0;
    if (key === undefined) await run();
    else {
      const { before, after } = await bracket(key, run);
      writeUnits = failure === undefined ? unitsOfWrite(before, after) : unitsOfRefusal(failure, before);
    }
    calls.push({
      service,
      operation,
      status: failure === undefined ? 200 : numberIn(at(failure, "$metadata"), "httpStatusCode"),
      error: failure === undefined ? undefined : String(at(failure, "name")),
      requestBytes,
      writeUnits,
      readUnits: service === "dynamodb" && failure === undefined ? unitsOfRead(operation, input, output) : 0,
      sqsRequests: service === "sqs" ? sqsRequests(input, output) : 0,
      detail: detailOf(input),
    });
    if (failure !== undefined) throw failure;
  }

  for (const service of ["sqs", "dynamodb", "s3"] as const) {
    // The three stacks differ only in the types of inputs and outputs, which the meter reads by name.
    const stack = clients[service].middlewareStack as unknown as SQSClient["middlewareStack"];
    stack.add(
      (next, context) => async (args) => {
        const holder: { result?: Awaited<ReturnType<typeof next>> } = {};
        const operation = String(at(context, "commandName")).replace(/Command$/, "");
        await measure(service, operation, args.input, bodyBytes(at(args.request, "body")), async () => {
          holder.result = await next(args);
          return holder.result.output;
        });
        if (holder.result === undefined) throw new Error(`${operation} ended without an answer`);
        return holder.result;
      },
      // Inside the retries: each try is a request of its own.
      { step: "finalizeRequest", priority: "low", name: "tasklaneMeter" },
    );
  }

  return {
    sdk: { sqs: clients.sqs, dynamodb: clients.dynamodb, s3: clients.s3 },
    get calls() {
      return calls;
    },
    totals: () => addUp(calls),
    reset: () => {
      calls = [];
    },
    close: () => {
      clients.close();
      unmetered.close();
    },
  };
}

function addUp(calls: readonly MeteredCall[]): MeterTotals {
  const counts: Record<string, number> = {};
  let [writeUnits, readUnits, sqsRequests] = [0, 0, 0];
  for (const call of calls) {
    counts[call.operation] = (counts[call.operation] ?? 0) + 1;
    writeUnits += call.writeUnits;
    readUnits += call.readUnits;
    sqsRequests += call.sqsRequests;
  }
  return { calls: counts, writeUnits, readUnits, sqsRequests };
}

/** A write is charged by the larger of the item before and after, and so is each index whose entry it touches. */
function unitsOfWrite(before: Item | undefined, after: Item | undefined): number {
  let units = writeUnitsFor(Math.max(sizeOf(before), sizeOf(after)));
  for (const index of Object.values(INDEXES)) {
    const was = entryOf(before, index);
    const is = entryOf(after, index);
    if (JSON.stringify(was) === JSON.stringify(is)) continue;
    // An entry whose key changes is one removed and one put; nothing but keys is in it, so nothing else changes.
    for (const entry of [was, is]) if (entry !== undefined) units += writeUnitsFor(itemBytes(entry));
  }
  return units;
}

/** A refused write is charged by the item that it met; any other error is free. */
function unitsOfRefusal(failure: unknown, before: Item | undefined): number {
  return at(failure, "name") === "ConditionalCheckFailedException" ? writeUnitsFor(sizeOf(before)) : 0;
}

function unitsOfRead(operation: string, input: unknown, output: unknown): number {
  if (operation === "GetItem")
    return readUnitsFor(storedBytes(at(output, "Item")), at(input, "ConsistentRead") === true);
  if (operation === "Query") {
    const bytes = list(at(output, "Items")).reduce<number>((sum, item) => sum + storedBytes(item), 0);
    return readUnitsFor(bytes, at(input, "ConsistentRead") === true);
  }
  if (operation !== "BatchGetItem") return 0;
  let units = 0;
  for (const [table, asked] of Object.entries(at(input, "RequestItems") ?? {})) {
    const consistent = at(asked, "ConsistentRead") === true;
    const found = list(at(at(output, "Responses"), table));
    const unprocessed = list(at(at(at(output, "UnprocessedKeys"), table), "Keys")).length;
    // Each item is rounded by itself, and one that is not there costs the least read.
    for (const item of found) units += readUnitsFor(storedBytes(item), consistent);
    units += (list(at(asked, "Keys")).length - found.length - unprocessed) * readUnitsFor(0, consistent);
  }
  return units;
}

function writeUnitsFor(bytes: number): number {
  return Math.max(1, Math.ceil(bytes / WRITE_UNIT_BYTES));
}

function readUnitsFor(bytes: number, consistent: boolean): number {
  return Math.max(1, Math.ceil(bytes / READ_UNIT_BYTES)) * (consistent ? 1 : 0.5);
}

/** What a `KEYS_ONLY` index holds of an item, if it is in the index at all. */
function entryOf(item: Item | undefined, index: { shard: string; time: string }): Item | undefined {
  const shard = item?.[index.shard];
  const time = item?.[index.time];
  if (item === undefined || shard === undefined || time === undefined) return undefined;
  return { pk: item["pk"] ?? "", sk: item["sk"] ?? "", [index.shard]: shard, [index.time]: time };
}

function writtenKey(operation: string, input: unknown): StoredItem | undefined {
  if (operation === "UpdateItem" || operation === "DeleteItem") return storedIn(at(input, "Key"));
  if (operation !== "PutItem") return undefined;
  const { pk, sk } = storedIn(at(input, "Item"));
  return pk === undefined || sk === undefined ? undefined : { pk, sk };
}

function sqsRequests(input: unknown, output: unknown): number {
  const sent = [input, ...list(at(input, "Entries"))].reduce<number>(
    (sum, entry) => sum + textBytes(at(entry, "MessageBody")),
    0,
  );
  const received = list(at(output, "Messages")).reduce<number>(
    (sum, message) => sum + textBytes(at(message, "Body")),
    0,
  );
  return Math.max(1, Math.ceil((sent + received) / SQS_CHUNK_BYTES));
}

function detailOf(input: unknown): string {
  const entries = at(input, "Entries");
  if (Array.isArray(entries)) return `${entries.length} entries`;
  const key = at(input, "Key") ?? at(input, "Item");
  if (typeof key === "string") return key;
  if (key === undefined) return "";
  const { pk, sk } = unmarshalItem(storedIn(key));
  return `${pk} ${sk}`;
}

function sizeOf(item: Item | undefined): number {
  return item === undefined ? 0 : itemBytes(item);
}

function storedBytes(value: unknown): number {
  return value === undefined ? 0 : itemBytes(unmarshalItem(storedIn(value)));
}

function storedIn(value: unknown): StoredItem {
  return (typeof value === "object" && value !== null ? value : {}) as StoredItem;
}

function textBytes(value: unknown): number {
  return typeof value === "string" ? utf8Bytes(value) : 0;
}

function bodyBytes(body: unknown): number {
  if (typeof body === "string") return utf8Bytes(body);
  return body instanceof Uint8Array ? body.byteLength : 0;
}

function at(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}

function numberIn(value: unknown, name: string): number | undefined {
  const found = at(value, name);
  return typeof found === "number" ? found : undefined;
}

function list(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
