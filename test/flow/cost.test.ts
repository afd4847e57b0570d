import { readFileSync } from "node:fs";
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { z } from "zod";
import { marshalItem, unmarshalItem } from "../../lib/aws/dynamo-item.ts";
import { createClient } from "../../lib/client.ts";
import type { TasklaneClient } from "../../lib/client.ts";
import { connect } from "../../lib/connect.ts";
import { recover } from "../../lib/flow/recover.ts";
import type { Services } from "../../lib/flow/services.ts";
import { makeServices } from "../../lib/flow/services.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import { provision } from "../../lib/provision.ts";
import { systemClock } from "../../lib/system.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";
import { RetryAfterError, SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { RECORD_MAX_BYTES } from "../../lib/task/limits.ts";
import { taskPartition } from "../../lib/task/record-codec.ts";
import type { Topology } from "../../lib/task/topology.ts";
import { createWorker } from "../../lib/worker.ts";
import { readPart } from "../../scripts/generated-docs.ts";
import { flowWorld } from "../support/flow-world.ts";
import type { Meter, MeteredCall } from "../support/meter.ts";
import { createMeter } from "../support/meter.ts";
import { noise } from "../support/payload-texts.ts";
import { schedulerOf } from "../support/world-scheduler.ts";

/** A count of calls: exact, or from the first to the second where batches may be cut by time. */
type Count = number | readonly [least: number, most: number];

/** What something costs: DynamoDB's units, and calls to SQS and S3. */
interface Cost {
  readonly what: string;
  readonly write: number;
  readonly read: number;
  readonly send: Count;
  readonly receive: Count;
  readonly delete: Count;
  readonly s3: number;
}

/** The budget, asserted below row by row, and shown in docs/cost.md. */
const BUDGET = {
  one: { what: "a task that succeeds", write: 4, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  ten: { what: "ten tasks of one `enqueueMany` that succeed", write: 40, read: 0, send: 1, receive: [1, 2], delete: [1, 2], s3: 0 },
  side: { what: "a task with an input of 3,000 bytes", write: 8, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  bucket: { what: "a task with an input of 100,000 bytes that does not compress", write: 4, read: 0, send: 1, receive: 1, delete: 1, s3: 2 },
  duplicate: { what: "a duplicate, refused", write: 1, read: 0, send: 0, receive: 0, delete: 0, s3: 0 },
  failure: { what: "an attempt that fails and is retried, with an error of a few lines", write: 3, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  longFailure: { what: "the same with the longest message and stack", write: 8, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  dead: { what: "an attempt that ends its task as dead, with its dead letter", write: 4, read: 1, send: 1, receive: 1, delete: 1, s3: 0 },
  redrive: { what: "a redrive, up to its message", write: 6, read: 1, send: 1, receive: 0, delete: 0, s3: 0 },
  reservation: { what: "a batch of three under a rate limit: one starts, two are put back", write: 3, read: 0, send: 2, receive: 1, delete: [1, 2], s3: 0 },
  snooze: { what: "a snooze of up to 15 minutes", write: 2, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  longSnooze: { what: "a longer snooze", write: 3, read: 0, send: 0, receive: 1, delete: 1, s3: 0 },
  delayed: { what: "a task delayed by up to 15 minutes that succeeds", write: 4, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  far: { what: "a task delayed by more, up to its end, the scheduler's share included", write: 9, read: 1, send: 1, receive: 1, delete: 1, s3: 0 },
} as const satisfies Record<string, Cost>;

/** What the hosts cost while there is nothing to do, with four lanes. */
const IDLE = {
  workerReceives: 12,
  schedulerWrites: 2,
  schedulerReads: 11,
  schedulerLooks: 8,
  schedulerReadsADay: 18_528,
} as const;

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }), idempotencyKey: ({ n }) => `n${n}` });
const errand = defineTask({ name: "errand", input: z.object({ how: z.string(), text: z.string().optional() }) });

let stack: EmbeddedStack;
let topology: Topology;
let meter: Meter;
let client: TasklaneClient;
let reader: DynamoDBClient;
const asserted = new Set<string>();

beforeAll(async () => {
  stack = await startEmbeddedStack();
  topology = await provision({ queue: "cost" }, { endpoint: stack.endpoints, region: "us-east-1" });
  reader = new DynamoDBClient({
    endpoint: stack.endpoints.dynamodb,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
  meter = createMeter(topology);
  answerRefusalsAsDynamoDoes(meter.sdk.dynamodb);
  client = createClient({ topology, sdk: meter.sdk, compress: false });
  // The lane's depth is looked up once a minute: not in the middle of a measurement.
  await (await client.enqueue(plain, { n: 0 })).cancel();
  await work([plain.handle(() => undefined)], (events) => events.some(({ type }) => type === "copy-dropped"));
});
afterEach(() => meter.reset());
afterAll(async () => {
  meter.close();
  reader.destroy();
  await stack.close();
});

/**
 * DynamoDB answers a refused write with the item that stood in its way, if asked to; the embedded one does not, and would
 * cost a read that is none of the budget's.
 */
function answerRefusalsAsDynamoDoes(dynamodb: DynamoDBClient): void {
  dynamodb.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const { Key, Item, ReturnValuesOnConditionCheckFailure: wanted } = args.input as {
          Key?: Record<string, never>;
          Item?: Record<string, never>;
          ReturnValuesOnConditionCheckFailure?: string;
        };
        const refused = error instanceof Error && error.name === "ConditionalCheckFailedException" && wanted === "ALL_OLD";
        const { pk, sk } = Key ?? Item ?? {};
        if (refused && pk !== undefined && sk !== undefined) {
          const found = await reader.send(
            new GetItemCommand({ TableName: topology.table, Key: { pk, sk }, ConsistentRead: true }),
          );
          Object.assign(error, { Item: found.Item });
        }
        throw error;
      }
    },
    { step: "initialize", name: "answerRefusals" },
  );
}

/** Runs a metered worker on one lane until its events say that it is enough. */
async function work(
  handlers: readonly TaskHandler[],
  isEnough: (events: readonly TasklaneEvent[]) => boolean,
): Promise<readonly TasklaneEvent[]> {
  const events: TasklaneEvent[] = [];
  const stop = new AbortController();
  const running = createWorker({
    topology,
    sdk: meter.sdk,
    handlers,
    lanes: ["normal"],
    scheduler: false,
    log: () => undefined,
    onEvent: (event) => events.push(event),
  }).run({ signal: stop.signal });
  try {
    await vi.waitFor(() => expect(isEnough(events)).toBe(true), { timeout: 30_000, interval: 5 });
  } finally {
    stop.abort();
    await running;
  }
  return events;
}

const ended =
  (count: number) =>
  (events: readonly TasklaneEvent[]): boolean =>
    events.filter(({ type }) => type === "attempt-ended").length >= count;

/** Runs whatever the lane holds, unmetered as it were. */
async function empty(ids: readonly string[]): Promise<void> {
  for (const id of ids) await client.task(errand, id).cancel().catch(() => undefined);
  meter.reset();
}

/** What was spent since the last reset; what a worker spends at its start, and on polls that were not answered, is not it. */
function spent(): Omit<Cost, "what"> & { looks: number } {
  const calls = meter.calls.filter(({ detail, status }) => detail !== "d#scheduler -" && status !== undefined);
  const count = (operation: string): number => calls.filter((call) => call.operation === operation).length;
  const sum = (of: (call: MeteredCall) => number): number => calls.reduce((total, call) => total + of(call), 0);
  return {
    write: sum(({ writeUnits }) => writeUnits),
    read: sum(({ readUnits }) => readUnits),
    send: count("SendMessageBatch"),
    receive: count("ReceiveMessage"),
    delete: count("DeleteMessageBatch"),
    s3: count("PutObject") + count("GetObject"),
    looks: count("GetQueueAttributes"),
  };
}

function expectCost(name: keyof typeof BUDGET): void {
  asserted.add(name);
  const { what: _, ...wanted }: Cost = BUDGET[name];
  const { looks, ...got } = spent();
  const within: Record<string, unknown> = {};
  for (const [key, count] of Object.entries(wanted) as [keyof typeof wanted, Count][]) {
    const value = got[key];
    within[key] = typeof count === "number" || typeof value !== "number" || value < count[0] || value > count[1] ? value : count;
  }
  expect(within).toEqual(wanted);
  // Depth look-ups come on top: one for each lane and minute.
  expect(looks).toBeLessThanOrEqual(1);
}

async function recordItem(id: string): Promise<Record<string, string | number>> {
  const answer = await reader.send(
    new GetItemCommand({
      TableName: topology.table,
      Key: marshalItem({ pk: taskPartition(id), sk: "-" }),
      ConsistentRead: true,
    }),
  );
  return unmarshalItem(answer.Item ?? {});
}

async function expectHotRecord(id: string): Promise<void> {
  const bytes = itemBytes(await recordItem(id));
  expect(bytes).toBeGreaterThan(100);
  expect(bytes).toBeLessThanOrEqual(RECORD_MAX_BYTES);
}

describe("a task costs", () => {
  test("four write units and no read on its way to success", async () => {
    const { id } = await client.enqueue(errand, { how: "well" });
    await work([errand.handle(() => undefined)], ended(1));
    expectCost("one");
    expect(meter.calls.filter(({ service }) => service === "dynamodb" && service).map(({ operation, writeUnits }) => [operation, writeUnits])).toEqual(
      expect.arrayContaining([
        ["PutItem", 2],
        ["UpdateItem", 1],
        ["UpdateItem", 1],
      ]),
    );
    await expectHotRecord(id);
  });

  test("the same in a batch, and the batch is as few requests as SQS allows", async () => {
    const tasks = await client.enqueueMany(plain, Array.from({ length: 10 }, (_, n) => ({ input: { n: 100 + n } })));
    await work([plain.handle(() => undefined)], ended(10));
    expectCost("ten");
    for (const { id } of tasks) await expectHotRecord(id);
  });

  test("more where its input lies beside the record", async () => {
    const { id } = await client.enqueue(errand, { how: "well", text: noise(3_000 - 22) });
    expect(JSON.stringify({ how: "well", text: noise(3_000 - 22) })).toHaveLength(3_000);
    await work([errand.handle(() => undefined)], ended(1));
    expectCost("side");
    await expectHotRecord(id);
  });

  test("a put and a get where its input lies in S3", async () => {
    const { id } = await client.enqueue(errand, { how: "well", text: noise(100_000 - 22) });
    await work([errand.handle(() => undefined)], ended(1));
    expectCost("bucket");
    await expectHotRecord(id);
  });

  test("one write unit as a duplicate", async () => {
    const first = await client.enqueue(plain, { n: 200 });
    meter.reset();
    expect(await client.enqueue(plain, { n: 200 })).toMatchObject({ id: first.id, duplicate: true });
    expectCost("duplicate");
    await empty([first.id]);
    await work([plain.handle(() => undefined)], (events) => events.some(({ type }) => type === "copy-dropped"));
  });

  test("the same while it waits for up to 15 minutes", async () => {
    const { id } = await client.enqueue(errand, { how: "well" }, { delay: "1s" });
    await work([errand.handle(() => undefined)], ended(1));
    // Whether the poll that waits meanwhile ends once without a message is a matter of time.
    expectCost("delayed");
    await expectHotRecord(id);
  });

  test("nine write units if it waits for longer, since the scheduler has to send it", async () => {
    const { id } = await laterClient(20).enqueue(errand, { how: "well" }, { delay: "20m" });
    expect(meter.calls.filter(({ service }) => service === "sqs" && service).map(({ operation }) => operation)).not.toContain(
      "SendMessageBatch",
    );
    const enqueue = spent().write;
    const idle = await measuredRun();
    expect(idle.resent).toBe(1);
    await work([errand.handle(() => undefined)], ended(1));
    expect(enqueue).toBe(3);
    // What the scheduler spends in any minute is not this task's.
    withoutIdleRun();
    expectCost("far");
    await expectHotRecord(id);
  });
});

describe("an attempt that does not succeed costs", () => {
  test("a claim, a settlement and a note of its size", async () => {
    const { id } = await client.enqueue(errand, { how: "badly" });
    meter.reset();
    await work([errand.handle(() => Promise.reject(failureOf("the supplier is down", 200)))], ended(1));
    expectCost("failure");
    await expectHotRecord(id);
    await drop(id);
  });

  test("at most six units more for the note", async () => {
    const { id } = await client.enqueue(errand, { how: "badly" });
    meter.reset();
    await work([errand.handle(() => Promise.reject(failureOf("m".repeat(3_000), 9_000)))], ended(1));
    expectCost("longFailure");
    await expectHotRecord(id);
    await drop(id);
  });

  test("one entry of an index and a letter more where it is the end", async () => {
    const { id } = await client.enqueue(errand, { how: "badly" });
    meter.reset();
    const error = new TerminalError("it cannot be done");
    error.stack = "short";
    await work([errand.handle(() => Promise.reject(error))], ended(1));
    expectCost("dead");
    await expectHotRecord(id);

    meter.reset();
    await client.task(errand, id).redrive();
    expectCost("redrive");
    await expectHotRecord(id);
    await work([errand.handle(() => undefined)], ended(1));
    await expectHotRecord(id);
  });

  test("a claim and a settlement as a snooze, and nothing is noted", async () => {
    const { id } = await client.enqueue(errand, { how: "sleepily" });
    meter.reset();
    await work([errand.handle(() => Promise.reject(new SnoozeError("1s")))], ended(1));
    expectCost("snooze");
    await expectHotRecord(id);
    await drop(id);

    const long = await client.enqueue(errand, { how: "sleepily" });
    meter.reset();
    await work([errand.handle(() => Promise.reject(new SnoozeError("1h")))], ended(1));
    expectCost("longSnooze");
    await expectHotRecord(long.id);
    await empty([long.id]);
  });

  test("nothing of the ledger where a rate limit puts it back: one reservation serves the batch", async () => {
    const limit = defineRateLimit({ name: "slow", limit: 1, per: "20s", burst: 1 });
    const limited = defineTask({ name: "limited", input: z.object({ n: z.number() }), rateLimit: limit });
    const tasks = await client.enqueueMany(limited, [1, 2, 3].map((n) => ({ input: { n } })));
    meter.reset();
    const events = await work(
      [limited.handle(() => undefined)],
      (seen) => ended(1)(seen) && seen.filter(({ type }) => type === "deferred").length === 2,
    );
    expect(events.filter(({ type }) => type === "deferred")).toMatchObject([{ reason: "rate-limit" }, { reason: "rate-limit" }]);
    expectCost("reservation");
    const records = await Promise.all(tasks.map(({ id }) => recordItem(id)));
    // Those that were put back were not written to.
    expect(records.filter(({ st }) => st === "queued")).toHaveLength(2);
    for (const { id } of tasks) {
      await expectHotRecord(id);
      await client.task(limited, id).cancel().catch(() => undefined);
    }
  });
});

describe("the hot record", () => {
  test("stays within one write unit from the longest name with meta, over a retry, to a dead end", async () => {
    const limit = defineRateLimit({ name: "quick", limit: 100 });
    const longest = defineTask({
      name: `n${"a".repeat(63)}`,
      input: z.object({ text: z.string() }),
      output: z.object({ text: z.string() }),
      rateLimit: limit,
      maxRetries: 1,
      backoff: { initial: "1ms", factor: 1 },
    });
    const sizes: number[] = [];
    const look = async (id: string): Promise<void> => {
      await expectHotRecord(id);
      sizes.push(itemBytes(await recordItem(id)));
    };
    const options = {
      meta: { by: "m".repeat(60), and: "\u20ac".repeat(4) },
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
      expires: "1h",
      idempotencyKey: "k",
    } as const;
    const dying = await client.enqueue(longest, { text: "t".repeat(200) }, options);
    await look(dying.id);
    let attempt = 0;
    await work(
      [
        longest.handle(async ({ text }, ctx) => {
          attempt++;
          await look(ctx.taskId);
          await ctx.progress("p".repeat(300));
          await look(ctx.taskId);
          if (attempt === 2) await dying.cancel("\u20ac".repeat(100)).catch(() => undefined);
          await look(ctx.taskId);
          throw new Error(`${"\u{1F600}".repeat(200)} ${text}`);
        }),
      ],
      ended(2),
    );
    await look(dying.id);
    const done = await client.enqueue(longest, { text: "t".repeat(200) }, { ...options, idempotencyKey: "l" });
    await work([longest.handle(({ text }) => ({ text: text + text }))], ended(1));
    await look(done.id);
    const dead = await client.enqueue(longest, { text: "t".repeat(200) }, { ...options, idempotencyKey: "m" });
    await work([longest.handle(() => Promise.reject(new Error("\u20ac".repeat(300))))], ended(2));
    await look(dead.id);
    expect(await dead.get()).toMatchObject({ state: "dead", failures: 2, reason: "RETRIES_EXHAUSTED" });
    expect(sizes.length).toBeGreaterThanOrEqual(10);
    const updates = meter.calls.filter(({ operation, detail }) => operation === "UpdateItem" && detail.startsWith("t#"));
    expect(Math.max(...updates.map(({ writeUnits }) => writeUnits))).toBeLessThanOrEqual(2);
  });
});

describe("an idle minute", () => {
  test("of a worker is three receives for each lane", async () => {
    const world = await flowWorld({ spec: {} });
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.advance("5m");
    const from = world.calls.length;
    await world.advance("1m");
    const calls = world.calls.slice(from);
    expect(calls.map(({ verb }) => verb)).toEqual(Array.from({ length: IDLE.workerReceives }, () => "receive"));
    await world.close();
  });

  test("of the scheduler is two writes, a few reads, and two looks at each lane", async () => {
    await measuredRun();
    meter.reset();
    const report = await measuredRun();
    expect(report).toMatchObject({ skipped: false, owed: 0, resent: 0, buried: 0 });
    const calls = meter.calls;
    const sum = (of: (call: MeteredCall) => number): number => calls.reduce((total, call) => total + of(call), 0);
    expect(sum(({ writeUnits }) => writeUnits)).toBe(IDLE.schedulerWrites);
    const queries = calls.filter(({ operation }) => operation === "Query");
    expect(queries).toHaveLength(20);
    const visits = sum(({ operation, readUnits }) => (operation === "BatchGetItem" || operation === "GetItem" ? readUnits : 0)) - 1;
    expect(sum(({ readUnits }) => readUnits) - visits).toBe(IDLE.schedulerReads);
    expect(calls.filter(({ service }) => service === "sqs")).toHaveLength(IDLE.schedulerLooks);
  });

  test("is read a little more each five minutes and each hour, by the older passes", async () => {
    const world = await flowWorld({ spec: {} });
    const scheduler = schedulerOf(world);
    await scheduler.run();
    const from = world.calls.length;
    await world.advance("1m");
    await scheduler.runEach(24 * 60 - 1);
    const counts: Record<string, number> = {};
    for (const { verb } of world.calls.slice(from)) counts[verb] = (counts[verb] ?? 0) + 1;
    expect((counts["query"] ?? 0) * 0.5 + (counts["readDocument"] ?? 0)).toBe(IDLE.schedulerReadsADay);
    expect(counts["writeDocument"]).toBe(24 * 60 * IDLE.schedulerWrites);
    await world.close();
  });
});

test("docs/cost.md shows what is asserted here, and nothing else", () => {
  expect([...asserted].sort()).toEqual(Object.keys(BUDGET).sort());
  const page = readFileSync(new URL("../../docs/cost.md", import.meta.url), "utf8");
  const show = (count: Count): string => (typeof count === "number" ? String(count) : `${count[0]}–${count[1]}`);
  const rows = Object.values(BUDGET).map(
    (cost: Cost) =>
      `| ${cost.what} | ${cost.write} | ${cost.read} | ${show(cost.send)} | ${show(cost.receive)} | ${show(cost.delete)} | ${cost.s3} |`,
  );
  expect(readPart(page, "tasks")).toBe(
    ["| what | write units | read units | sends | receives | deletes | S3 |", "| --- | --- | --- | --- | --- | --- | --- |", ...rows].join("\n"),
  );
  expect(readPart(page, "idle")).toBe(
    [
      "| what, with four lanes | a minute |",
      "| --- | --- |",
      `| receives of each worker | ${IDLE.workerReceives} |`,
      `| write units of the scheduler, one for all workers | ${IDLE.schedulerWrites} |`,
      `| read units of the scheduler | ${IDLE.schedulerReads}, and ${IDLE.schedulerReadsADay.toLocaleString("en-GB")} a day with its older passes |`,
      `| SQS requests of the scheduler | ${IDLE.schedulerLooks} |`,
    ].join("\n"),
  );
});

/** An error whose kept text has a size that does not depend on where the repository lies. */
function failureOf(message: string, stackChars: number): Error {
  const error = new RetryAfterError("1s", message);
  error.stack = `RetryAfterError: ${"s".repeat(stackChars)}`;
  return error;
}

/** Ends a task that waits for its next attempt, and takes its message out. */
async function drop(id: string): Promise<void> {
  await client.task(errand, id).cancel();
  await work([errand.handle(() => undefined)], (events) => events.some(({ type }) => type === "copy-dropped"));
  meter.reset();
}

/** A client whose clock was so many minutes behind. */
function laterClient(minutes: number): TasklaneClient {
  const clock: Clock = { ...systemClock, now: () => systemClock.now() - minutes * 60_000 };
  return createClient({ topology, sdk: meter.sdk, clock, compress: false });
}

let runs = 0;
let lastRun: readonly MeteredCall[] = [];

/** A metered run of the scheduler, a minute after the last one. */
async function measuredRun(): Promise<Awaited<ReturnType<typeof recover>>> {
  const aheadMs = 60_000 * runs++;
  const clock: Clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
  const { backend, random } = await connect(topology, undefined, { sdk: meter.sdk });
  const services: Services = makeServices({ backend, clock, random });
  const from = meter.calls.length;
  const report = await recover(services, { holder: "cost" });
  lastRun = meter.calls.slice(from);
  return report;
}

/** Takes out of the count what a run of the scheduler costs though there is nothing to do. */
function withoutIdleRun(): void {
  const idle = new Set(
    lastRun.filter(({ operation, detail }) => {
      const isWrite = operation === "UpdateItem" || operation === "PutItem";
      const isSend = operation === "SendMessageBatch";
      const isRecord = (operation === "GetItem" || operation === "BatchGetItem") && detail.startsWith("t#");
      return !(isWrite && detail.startsWith("t#")) && !isSend && !isRecord;
    }),
  );
  const kept = meter.calls.filter((call) => !idle.has(call));
  meter.reset();
  (meter.calls as MeteredCall[]).push(...kept);
}
