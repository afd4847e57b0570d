import { readFileSync } from "node:fs";
import type { PutItemCommandInput, UpdateItemCommandInput } from "@aws-sdk/client-dynamodb";
import { DynamoDBClient, GetItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { marshalItem, unmarshalItem } from "../../lib/aws/dynamo-item.ts";
import { createClient } from "../../lib/client.ts";
import type { TasklaneClient } from "../../lib/client.ts";
import { connect } from "../../lib/connect.ts";
import type { RecoverReport } from "../../lib/flow/recover.ts";
import { recover } from "../../lib/flow/recover.ts";
import { makeServices } from "../../lib/flow/services.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import { provision } from "../../lib/provision.ts";
import type { Counter } from "../../lib/task/counters.ts";
import { COUNTER_NAMES } from "../../lib/task/counters.ts";
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
  ten: {
    what: "ten tasks of one `enqueueMany` that succeed",
    write: 40,
    read: 0,
    send: 1,
    receive: [1, 2],
    delete: [1, 2],
    s3: 0,
  },
  side: { what: "a task with an input of 3,000 bytes", write: 8, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  bucket: {
    what: "a task with an input of 100,000 bytes that does not compress",
    write: 4,
    read: 0,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 2,
  },
  duplicate: { what: "a duplicate, refused", write: 1, read: 0, send: 0, receive: 0, delete: 0, s3: 0 },
  failure: {
    what: "an attempt that fails and is retried, with an error of a few lines",
    write: 3,
    read: 0,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 0,
  },
  longFailure: {
    what: "the same with the longest message and stack",
    write: 8,
    read: 0,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 0,
  },
  dead: {
    what: "an attempt that ends its task as dead, with its dead letter",
    write: 4,
    read: 1,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 0,
  },
  redrive: { what: "a redrive, up to its message", write: 6, read: 1, send: 1, receive: 0, delete: 0, s3: 0 },
  reservation: {
    what: "a batch of three under a rate limit: one starts, two are put back",
    write: 3,
    read: 0,
    send: 2,
    receive: 1,
    delete: [1, 2],
    s3: 0,
  },
  snooze: { what: "a snooze of up to 15 minutes", write: 2, read: 0, send: 1, receive: 1, delete: 1, s3: 0 },
  longSnooze: { what: "a longer snooze", write: 3, read: 0, send: 0, receive: 1, delete: 1, s3: 0 },
  delayed: {
    what: "a task delayed by up to 15 minutes that succeeds",
    write: 4,
    read: 0,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 0,
  },
  far: {
    what: "a task delayed by more that succeeds, with what the scheduler does for it",
    write: 9,
    read: 1.5,
    send: 1,
    receive: 1,
    delete: 1,
    s3: 0,
  },
  visit: {
    what: "each of the scheduler's four looks at a task, whatever became of it",
    write: 0,
    read: 0.5,
    send: 0,
    receive: 0,
    delete: 0,
    s3: 0,
  },
} as const satisfies Record<string, Cost>;

/** What the hosts cost while there is nothing to do, with four lanes. */
const IDLE = {
  workerReceives: 12,
  schedulerWrites: 2,
  schedulerReads: 13,
  schedulerLooks: 8,
  schedulerReadsADay: 21_408,
} as const;

/** What counting costs, in units. */
const COUNTING = {
  minute: 1,
  manyNames: 3,
  most: 20,
  hourRead: 1,
} as const;

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }), idempotencyKey: ({ n }) => `n${n}` });
const errand = defineTask({ name: "errand", input: z.object({ how: z.string(), text: z.string().optional() }) });

let stack: EmbeddedStack;
let reader: DynamoDBClient;
let benches = 0;
const asserted = new Set<string>();

beforeAll(async () => {
  stack = await startEmbeddedStack();
  reader = new DynamoDBClient({
    endpoint: stack.endpoints.dynamodb,
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
});
afterAll(async () => {
  reader.destroy();
  await stack.close();
});

/** A queue of its own with metered clients: no poll of an earlier test takes its messages. */
interface Bench {
  readonly topology: Topology;
  readonly meter: Meter;
  readonly client: TasklaneClient;
  /** Runs a metered worker until its events say that it is enough. */
  work(
    handlers: readonly TaskHandler[],
    isEnough: (events: readonly TasklaneEvent[]) => boolean,
  ): Promise<readonly TasklaneEvent[]>;
  /** A metered run of the scheduler, so much later than now. */
  schedule(aheadMs?: number): Promise<RecoverReport>;
  recordItem(id: string): Promise<Record<string, string | number>>;
  expectHotRecord(id: string): Promise<void>;
}

/** Makes a bench; `behindMs` is how far its client's clock is behind the worker's. */
async function bench(behindMs = 0): Promise<Bench> {
  const topology = await provision(
    { queue: `cost-${++benches}`, lanes: ["normal"] },
    { endpoint: stack.endpoints, region: "us-east-1" },
  );
  const meter = createMeter(topology);
  const { sdk } = meter;
  answerRefusalsAsDynamoDoes(sdk.dynamodb, topology.table);
  onTestFinished(() => meter.close());
  const client = createClient({ topology, sdk, clock: clockAhead(-behindMs), compress: false });
  const recordItem: Bench["recordItem"] = async (id) => {
    const Key = marshalItem({ pk: taskPartition(id), sk: "-" });
    const answer = await reader.send(new GetItemCommand({ TableName: topology.table, Key, ConsistentRead: true }));
    return unmarshalItem(answer.Item ?? {});
  };
  return {
    topology,
    meter,
    client,
    recordItem,
    async work(handlers, isEnough) {
      const events: TasklaneEvent[] = [];
      const stop = new AbortController();
      const onEvent = (event: TasklaneEvent): void => void events.push(event);
      const quiet = { scheduler: false, log: () => undefined, onEvent };
      const running = createWorker({ topology, sdk, handlers, ...quiet }).run({ signal: stop.signal });
      try {
        await vi.waitFor(() => expect(isEnough(events)).toBe(true), { timeout: 30_000, interval: 5 });
      } finally {
        stop.abort();
        await running;
      }
      return events;
    },
    async schedule(aheadMs = 0) {
      const { backend, random } = await connect(topology, undefined, { sdk });
      return recover(makeServices({ backend, clock: clockAhead(aheadMs), random }), { holder: "cost" });
    },
    async expectHotRecord(id) {
      const bytes = itemBytes(await recordItem(id));
      expect(bytes).toBeGreaterThan(100);
      expect(bytes).toBeLessThanOrEqual(RECORD_MAX_BYTES);
    },
  };
}

function clockAhead(ms: number): Clock {
  return { ...systemClock, now: () => systemClock.now() + ms };
}

/**
 * DynamoDB answers a refused write with the item that stood in its way, if asked to; the embedded one does not, and would
 * cost a read that is none of the budget's.
 */
function answerRefusalsAsDynamoDoes(dynamodb: DynamoDBClient, table: string): void {
  dynamodb.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const {
          Key,
          Item,
          ReturnValuesOnConditionCheckFailure: wanted,
        } = args.input as Partial<UpdateItemCommandInput & PutItemCommandInput>;
        const { pk, sk } = Key ?? Item ?? {};
        const refused = error instanceof Error && error.name === "ConditionalCheckFailedException";
        if (refused && wanted === "ALL_OLD" && pk !== undefined && sk !== undefined) {
          const found = await reader.send(
            new GetItemCommand({ TableName: table, Key: { pk, sk }, ConsistentRead: true }),
          );
          Object.assign(error, { Item: found.Item });
        }
        throw error;
      }
    },
    { step: "initialize", name: "answerRefusals" },
  );
}

const ended =
  (count: number) =>
  (events: readonly TasklaneEvent[]): boolean =>
    events.filter(({ type }) => type === "attempt-ended").length >= count;

/** Whether an attempt's outcome is its task's last. */
const isLast = (outcome: string): boolean => ["succeeded", "dead", "cancelled"].includes(outcome);

type Spent = Omit<Cost, "what"> & { readonly looks: number };

/**
 * What was spent since the last reset. What a worker spends at its start, on polls that were not answered, and on the counters of
 * a minute is not it: no task costs that.
 */
function spent({ meter }: Bench): Spent {
  const calls = meter.calls.filter(
    ({ detail, status }) => detail !== "d#scheduler -" && !isOfCounters(detail) && status !== undefined,
  );
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

const isOfCounters = (detail: string): boolean => detail.startsWith("c#");

/** What the budget says, and one look at the lane's depth on top, once a minute. */
function budgeted(name: keyof typeof BUDGET): object {
  const { what: _, ...cost }: Cost = BUDGET[name];
  return { ...cost, looks: [0, 1] };
}

/** What was spent, in the budget's words: a range of it where the count lies within. */
function measured(name: keyof typeof BUDGET, got: Spent): object {
  asserted.add(name);
  const wanted: Readonly<Record<string, unknown>> = { ...BUDGET[name], looks: [0, 1] };
  return Object.fromEntries(
    Object.entries(got).map(([key, count]) => {
      const range = wanted[key];
      const fits = Array.isArray(range) && Number(count) >= range[0] && Number(count) <= range[1];
      return [key, fits ? range : count];
    }),
  );
}

describe("a task costs", () => {
  test("four write units and no read on its way to success", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "well" });
    await run.work([errand.handle(() => undefined)], ended(1));
    expect(measured("one", spent(run))).toEqual(budgeted("one"));
    // The record and its entry in the index of creation times, the claim, the settlement.
    const writes = run.meter.calls.filter(({ writeUnits, detail }) => writeUnits > 0 && !isOfCounters(detail));
    expect(writes.map(({ operation, writeUnits }) => [operation, writeUnits])).toEqual([
      ["PutItem", 2],
      ["UpdateItem", 1],
      ["UpdateItem", 1],
    ]);
    await run.expectHotRecord(id);
  });

  test("the same in a batch, and the batch is as few requests as SQS allows", async () => {
    const run = await bench();
    const tasks = await run.client.enqueueMany(
      plain,
      Array.from({ length: 10 }, (_, n) => ({ input: { n } })),
    );
    await run.work([plain.handle(() => undefined)], ended(10));
    expect(measured("ten", spent(run))).toEqual(budgeted("ten"));
    for (const { id } of tasks) await run.expectHotRecord(id);
  });

  test("more where its input lies beside the record", async () => {
    const run = await bench();
    const input = { how: "well", text: noise(2_976) };
    expect(JSON.stringify(input)).toHaveLength(3_000);
    const { id } = await run.client.enqueue(errand, input);
    await run.work([errand.handle(() => undefined)], ended(1));
    expect(measured("side", spent(run))).toEqual(budgeted("side"));
    await run.expectHotRecord(id);
  });

  test("a put and a get where its input lies in S3", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "well", text: noise(99_976) });
    await run.work([errand.handle(() => undefined)], ended(1));
    expect(measured("bucket", spent(run))).toEqual(budgeted("bucket"));
    await run.expectHotRecord(id);
  });

  test("one write unit as a duplicate", async () => {
    const run = await bench();
    const first = await run.client.enqueue(plain, { n: 200 });
    run.meter.reset();
    expect(await run.client.enqueue(plain, { n: 200 })).toMatchObject({ id: first.id, duplicate: true });
    expect(measured("duplicate", spent(run))).toEqual(budgeted("duplicate"));
  });

  test("the same while it waits for up to 15 minutes", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "well" }, { delay: "1s" });
    await run.work([errand.handle(() => undefined)], ended(1));
    expect(measured("delayed", spent(run))).toEqual(budgeted("delayed"));
    await run.expectHotRecord(id);
  });

  test("nine write units if it waits for longer, since the scheduler has to send it", async () => {
    const idle = await bench();
    await idle.schedule();
    const nothing = spent(idle);

    const run = await bench(20 * 60_000);
    const { id } = await run.client.enqueue(errand, { how: "well" }, { delay: "20m" });
    // The record, and its entries in the indexes of creation times and of what is owed.
    expect(spent(run)).toMatchObject({ write: 3, send: 0 });
    expect(await run.schedule()).toMatchObject({ owed: 1, resent: 1, visited: 1 });
    await run.work([errand.handle(() => undefined)], ended(1));
    const all = spent(run);
    // What a run costs though there is nothing to do is not this task's.
    expect(
      measured("far", {
        ...all,
        write: all.write - nothing.write,
        read: all.read - nothing.read,
        receive: Number(all.receive) - Number(nothing.receive),
        looks: 0,
      }),
    ).toEqual(budgeted("far"));
    await run.expectHotRecord(id);
  });

  test("half a read unit for each look of the scheduler", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "well" });
    await run.work([errand.handle(() => undefined)], ended(1));
    await run.schedule(8 * 60_000);
    run.meter.reset();
    expect(await run.schedule(9 * 60_000)).toMatchObject({ visited: 0 });
    const nothing = spent(run);
    await run.schedule(10 * 60_000 - 5_000);
    run.meter.reset();
    expect(await run.schedule(11 * 60_000)).toMatchObject({ visited: 1, resent: 0 });
    const look = spent(run);
    expect(
      measured("visit", {
        ...look,
        write: look.write - nothing.write,
        read: look.read - nothing.read,
        receive: Number(look.receive) - Number(nothing.receive),
        looks: 0,
      }),
    ).toEqual(budgeted("visit"));
    await run.expectHotRecord(id);
  });
});

describe("an attempt that does not succeed costs", () => {
  test("a claim, a settlement and a note of its size", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "badly" });
    run.meter.reset();
    await run.work([errand.handle(() => Promise.reject(failureOf("the supplier is down", 200)))], ended(1));
    expect(measured("failure", spent(run))).toEqual(budgeted("failure"));
    await run.expectHotRecord(id);
  });

  test("at most so much more for the note", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "badly" });
    run.meter.reset();
    await run.work([errand.handle(() => Promise.reject(failureOf("m".repeat(3_000), 9_000)))], ended(1));
    expect(measured("longFailure", spent(run))).toEqual(budgeted("longFailure"));
    await run.expectHotRecord(id);
  });

  test("one entry of an index and a letter more where it is the end; a redrive moves indexes", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "badly" });
    run.meter.reset();
    const error = new TerminalError("it cannot be done");
    error.stack = "short";
    await run.work([errand.handle(() => Promise.reject(error))], ended(1));
    expect(measured("dead", spent(run))).toEqual(budgeted("dead"));
    await run.expectHotRecord(id);

    run.meter.reset();
    await run.client.task(errand, id).redrive();
    expect(measured("redrive", spent(run))).toEqual(budgeted("redrive"));
    await run.expectHotRecord(id);
  });

  test("a claim and a settlement as a snooze, and nothing is noted", async () => {
    const run = await bench();
    const { id } = await run.client.enqueue(errand, { how: "sleepily" });
    run.meter.reset();
    await run.work([errand.handle(() => Promise.reject(new SnoozeError("10m")))], ended(1));
    expect(measured("snooze", spent(run))).toEqual(budgeted("snooze"));
    await run.expectHotRecord(id);

    const longRun = await bench();
    const long = await longRun.client.enqueue(errand, { how: "sleepily" });
    longRun.meter.reset();
    await longRun.work([errand.handle(() => Promise.reject(new SnoozeError("1h")))], ended(1));
    expect(measured("longSnooze", spent(longRun))).toEqual(budgeted("longSnooze"));
    await longRun.expectHotRecord(long.id);
  });

  test("nothing of the ledger where a rate limit puts it back: one reservation serves the batch", async () => {
    const run = await bench();
    const limit = defineRateLimit({ name: "slow", limit: 1, per: "1m", burst: 2 });
    const limited = defineTask({ name: "limited", input: z.object({ n: z.number() }), rateLimit: limit });
    const tasks = await run.client.enqueueMany(
      limited,
      [1, 2, 3].map((n) => ({ input: { n } })),
    );
    run.meter.reset();
    const events = await run.work(
      [limited.handle(() => undefined)],
      (seen) => ended(1)(seen) && seen.filter(({ type }) => type === "deferred").length === 2,
    );
    expect(events.filter(({ type }) => type === "deferred")).toMatchObject([
      { reason: "rate-limit" },
      { reason: "rate-limit" },
    ]);
    expect(measured("reservation", spent(run))).toEqual(budgeted("reservation"));
    const records = await Promise.all(tasks.map(({ id }) => run.recordItem(id)));
    expect(records.filter(({ st }) => st === "queued")).toHaveLength(2);
    for (const { id } of tasks) await run.expectHotRecord(id);
  });
});

describe("the hot record", () => {
  test("stays within one write unit from the longest name with meta, over a retry, to a dead end", async () => {
    const run = await bench();
    const longest = defineTask({
      name: `n${"a".repeat(63)}`,
      input: z.object({ text: z.string() }),
      output: z.object({ text: z.string() }),
      lane: "critical",
      rateLimit: defineRateLimit({ name: "quick", limit: 100 }),
      maxRetries: 1,
      backoff: { initial: "1ms", factor: 1 },
    });
    const sizes: number[] = [];
    const look = async (id: string): Promise<void> => {
      await run.expectHotRecord(id);
      sizes.push(itemBytes(await run.recordItem(id)));
    };
    const options = {
      meta: { by: "m".repeat(60), and: "\u20ac".repeat(4) },
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
      expires: "1h",
    } as const;
    const ids: string[] = [];
    for (const [at, text] of ["dies", "is cancelled", "succeeds"].entries()) {
      const { id } = await run.client.enqueue(
        longest,
        { text: text.padEnd(200) },
        { ...options, idempotencyKey: `${at}` },
      );
      await look(id);
      ids.push(id);
    }
    const [dying = "", cancelled = "", done = ""] = ids;
    await run.work(
      [
        longest.handle(async ({ text }, ctx) => {
          await look(ctx.taskId);
          await ctx.progress("p".repeat(300));
          await look(ctx.taskId);
          if (text.startsWith("is cancelled")) await run.client.task(longest, cancelled).cancel("\u20ac".repeat(100));
          await look(ctx.taskId);
          if (text.startsWith("succeeds")) return { text: text + text };
          throw new Error("\u{1F600}".repeat(300));
        }),
      ],
      (events) => events.filter((event) => event.type === "attempt-ended" && isLast(event.outcome)).length === 3,
    );
    for (const id of ids) await look(id);
    expect(await run.client.task(longest, dying).get()).toMatchObject({
      state: "dead",
      failures: 2,
      reason: "RETRIES_EXHAUSTED",
    });
    expect(await run.client.task(longest, cancelled).get()).toMatchObject({ state: "cancelled" });
    expect(await run.client.task(longest, done).get()).toMatchObject({ state: "succeeded" });
    expect(sizes.length).toBeGreaterThanOrEqual(15);
    expect(Math.max(...sizes)).toBeGreaterThan(900);
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
    const run = await bench();
    await run.schedule();
    run.meter.reset();
    const gauges = { deadTasks: 0, oldestOwedMs: 0, backlog: { normal: 0 } };
    expect(await run.schedule(60_000)).toEqual({
      skipped: false,
      owed: 0,
      resent: 0,
      visited: 0,
      buried: 0,
      gauges,
    });
    const { calls } = run.meter;
    const sum = (of: (call: MeteredCall) => number): number => calls.reduce((total, call) => total + of(call), 0);
    expect(sum(({ writeUnits }) => writeUnits)).toBe(IDLE.schedulerWrites);
    expect(sum(({ readUnits }) => readUnits)).toBe(IDLE.schedulerReads);
    expect(calls.filter(({ operation }) => operation === "Query")).toHaveLength(24);
    // This queue has one lane, and two looks at it: its depth, and its dead letters.
    expect(calls.filter(({ service }) => service === "sqs")).toHaveLength(IDLE.schedulerLooks / 4);
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
    expect((counts["depth"] ?? 0) + (counts["receive"] ?? 0)).toBe(24 * 60 * IDLE.schedulerLooks);
    await world.close();
  });
});

describe("counters cost", () => {
  const minute = Date.UTC(2030, 0, 1, 12);
  const countersOf = (names: number, length: number, each: number): Counter[] =>
    Array.from({ length: names * each }, (_, n) => ({
      lane: "normal",
      task: `task-${n % names}`.padEnd(length, "x"),
      name: COUNTER_NAMES[Math.floor(n / names)] ?? "dead",
      count: 1_234,
    }));

  test("a process one write unit for each minute in which something ran", async () => {
    const run = await bench();
    await run.client.enqueueMany(
      plain,
      Array.from({ length: 10 }, (_, n) => ({ input: { n } })),
    );
    await run.work([plain.handle(() => undefined)], ended(10));
    const writes = run.meter.calls.filter(({ detail }) => isOfCounters(detail));
    expect(writes.map(({ operation, writeUnits }) => [operation, writeUnits])).toEqual([
      ["UpdateItem", COUNTING.minute],
    ]);
  });

  test("more where the minute's item is larger than a KB", async () => {
    const { topology, meter } = await bench();
    const { backend } = await connect(topology, undefined, { sdk: meter.sdk });
    const unitsOf = async (counters: readonly Counter[], at: number): Promise<number> => {
      await backend.ledger.addCounters(at, counters, at + 86_400_000);
      meter.reset();
      await backend.ledger.addCounters(at, counters, at + 86_400_000);
      return meter.totals().writeUnits;
    };
    expect(await unitsOf(countersOf(16, 12, 3), minute)).toBe(COUNTING.minute);
    expect(await unitsOf(countersOf(50, 12, 3), minute + 60_000)).toBe(COUNTING.manyNames);
    expect(await unitsOf(countersOf(36, 64, 8), minute + 120_000)).toBe(COUNTING.most);
  });

  test("reads by the KBs that were written", async () => {
    const { topology, meter } = await bench();
    const { backend } = await connect(topology, undefined, { sdk: meter.sdk });
    for (let n = 0; n < 60; n++)
      await backend.ledger.addCounters(minute + n * 60_000, countersOf(3, 12, 2), minute + 86_400_000);
    meter.reset();
    expect(await backend.ledger.readCounters(minute, minute + 3_600_000)).toHaveLength(60);
    expect(meter.totals()).toMatchObject({ calls: { Query: 1 }, readUnits: COUNTING.hourRead, writeUnits: 0 });
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
    [
      "| what | write units | read units | sends | receives | deletes | S3 |",
      "| --- | --- | --- | --- | --- | --- | --- |",
      ...rows,
    ].join("\n"),
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
  expect(readPart(page, "counters")).toBe(
    [
      "| what | units |",
      "| --- | --- |",
      `| a worker process, or an environment of a function, for each minute in which it ran something | ${COUNTING.minute} write |`,
      `| the same, where the hosts together name 50 tasks in that minute, with three counters each | ${COUNTING.manyNames} writes |`,
      `| the most that one host names in a minute: 288 counters of the longest names | ${COUNTING.most} writes |`,
      `| reading an hour of counters of three tasks | ${COUNTING.hourRead} read |`,
    ].join("\n"),
  );
});

/** An error whose kept text has a size that does not depend on where the repository lies. */
function failureOf(message: string, stackChars: number): Error {
  const error = new RetryAfterError("10m", message);
  error.stack = `RetryAfterError: ${"s".repeat(stackChars)}`;
  return error;
}
