import { DeleteItemCommand, GetItemCommand, PutItemCommand } from "@aws-sdk/client-dynamodb";
import middy from "@middy/core";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { IdempotencyOptions } from "../../lib/lambda/middlewares/idempotency-options.ts";
import { idempotency } from "../../lib/lambda/middlewares/idempotency.ts";
import { partialBatchResponse } from "../../lib/lambda/middlewares/partial-batch-response.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { PlainHost } from "./plain-host.ts";
import { invoke, recordWith, startPlainHost } from "./plain-host.ts";

const TABLE = "powertools";

let host: PlainHost;
let clock: ManualClock;
/** Orders that the handler did, in their order. */
let done: string[];
let told: [string, string][];
let replayed: [string, unknown][];
let runs = 0;
let prefix: string;

beforeAll(async () => {
  host = await startPlainHost();
  await host.createTable(TABLE, ["id"]);
});
afterAll(() => host.close());
beforeEach(() => {
  clock = new ManualClock();
  done = [];
  told = [];
  replayed = [];
  prefix = `run${runs++}`;
});
afterEach(() => host.dynamodbProxy.interfere());

function order(id: string, order: string, body: object = {}): SQSRecord {
  return recordWith(id, { body: JSON.stringify({ order, ...body }) });
}

function keyOf(record: { body: string }): string {
  return `${prefix}#${(JSON.parse(record.body) as { order: string }).order}`;
}

function options(more: Partial<IdempotencyOptions> = {}): IdempotencyOptions {
  return {
    table: TABLE,
    key: keyOf,
    sdk: host.sdk,
    clock,
    onReplay: (record, result) => replayed.push([record.messageId, result]),
    onFailure: (record, reason) => told.push([record.messageId, String(Reflect.get(reason as object, "code"))]),
    ...more,
  };
}

async function work(event: SQSEvent): Promise<PromiseSettledResult<unknown>[]> {
  return Promise.allSettled(
    event.Records.map(async ({ body }) => {
      const { order: name, fails } = JSON.parse(body) as { order: string; fails?: boolean };
      if (fails === true) throw new Error("no");
      done.push(name);
      return { charged: name, cents: 12.5, lines: [1, null, true], at: { city: "Ulm" } };
    }),
  );
}

/** Hands records to a function with the middleware, and gives the ids that it reports. */
async function deliver(
  records: SQSRecord[],
  more: Partial<IdempotencyOptions> = {},
  { handler = work as (event: SQSEvent) => Promise<unknown>, remainingMs = 60_000 } = {},
): Promise<string[]> {
  const chain = middy(handler, { timeoutEarlyInMillis: 0 }).use([
    idempotency(options(more)),
    partialBatchResponse({ onFailure: () => undefined }),
  ]);
  const { response, error } = await invoke(chain, { Records: records }, remainingMs);
  if (error !== undefined) throw error;
  return (response as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures.map(
    ({ itemIdentifier }) => itemIdentifier,
  );
}

async function read(name: string): Promise<Record<string, unknown> | undefined> {
  const { Item } = await host.sdk.dynamodb.send(
    new GetItemCommand({ TableName: TABLE, Key: { id: { S: `${prefix}#${name}` } }, ConsistentRead: true }),
  );
  return Item;
}

/** A handler that does something while it has the batch. */
function meanwhile(act: () => Promise<unknown>): (event: SQSEvent) => Promise<unknown> {
  return async (event) => {
    await act();
    return work(event);
  };
}

describe("idempotency", () => {
  test("hands work to the handler once, and replays its result", async () => {
    expect(await deliver([order("m1", "A"), order("m2", "B")])).toEqual([]);
    // The same work by other messages, as after a redrive.
    expect(await deliver([order("m3", "A"), order("m4", "C")])).toEqual([]);
    expect(done).toEqual(["A", "B", "C"]);
    expect(replayed).toEqual([["m3", { charged: "A", cents: 12.5, lines: [1, null, true], at: { city: "Ulm" } }]]);
    expect(told).toEqual([]);
  });

  test("calls the handler with an empty batch if all was done before", async () => {
    await deliver([order("m1", "A")]);
    let given = -1;
    const counting = async (event: SQSEvent): Promise<void> => void (given = event.Records.length);
    expect(await deliver([order("m2", "A")], {}, { handler: counting })).toEqual([]);
    expect(given).toBe(0);
  });

  test("reports work that is in progress elsewhere, and replays it later", async () => {
    let other: string[] = [];
    const busy = meanwhile(async () => (other = await deliver([order("m2", "A"), order("m3", "B")])));
    expect(await deliver([order("m1", "A")], {}, { handler: busy })).toEqual([]);
    expect(other).toEqual(["m2"]);
    expect(await deliver([order("m2", "A")])).toEqual([]);
    expect(done).toEqual(["B", "A"]);
    expect(replayed.map(([id]) => id)).toEqual(["m2"]);
    expect(told).toEqual([["m2", "IDEMPOTENCY_IN_PROGRESS"]]);
  });

  test("does the same work twice in one batch once", async () => {
    expect(await deliver([order("m1", "A"), order("m2", "A")])).toEqual(["m2"]);
    expect(await deliver([order("m2", "A")])).toEqual([]);
    expect(done).toEqual(["A"]);
  });

  test("keeps what is done although the table cannot hold its result, and does not do it again", async () => {
    for (const [name, result] of Object.entries({ far: { seconds: 1e200 }, near: { seconds: 5e-324 } })) {
      const handler = async (event: SQSEvent): Promise<unknown> =>
        Promise.allSettled(event.Records.map(async () => (done.push(name), result)));
      expect(await deliver([order("m1", name)], {}, { handler })).toEqual([]);
      clock.advance(3_600_000);
      expect(await deliver([order("m2", name)], {}, { handler })).toEqual([]);
      expect(await read(name)).toMatchObject({ status: { S: "COMPLETED" } });
    }
    expect(done).toEqual(["far", "near"]);
    expect(replayed).toEqual([
      ["m2", undefined],
      ["m2", undefined],
    ]);
  });

  test("refuses a key that is too long for a sort key", async () => {
    const keys = { attributes: { sortKey: "sk" }, key: () => "k".repeat(1_025) };
    expect(await deliver([order("m1", "A")], keys)).toEqual(["m1"]);
    expect(told).toEqual([["m1", "OPTION_INVALID"]]);
  });

  test("F30 reports another payload under the same key as a conflict, each time", async () => {
    await deliver([order("m1", "A", { cents: 1 })]);
    expect(await deliver([order("m2", "A", { cents: 2 })])).toEqual(["m2"]);
    expect(await deliver([order("m2", "A", { cents: 2 })])).toEqual(["m2"]);
    expect(told).toEqual([
      ["m2", "IDEMPOTENCY_CONFLICT"],
      ["m2", "IDEMPOTENCY_CONFLICT"],
    ]);
    expect(done).toEqual(["A"]);
  });

  test("compares what the payload option says", async () => {
    const payload = (): string => "";
    await deliver([order("m1", "A", { at: 1 })], { payload });
    expect(await deliver([order("m2", "A", { at: 2 })], { payload })).toEqual([]);
    expect(replayed).toHaveLength(1);
  });

  test("frees the key when the handler fails, for one record or for all", async () => {
    expect(await deliver([order("m1", "A", { fails: true }), order("m2", "B")])).toEqual(["m1"]);
    expect(await read("A")).toBeUndefined();
    const refuse = async (): Promise<never> => {
      throw new Error("all of it");
    };
    expect(await deliver([order("m3", "C"), order("m4", "D")], {}, { handler: refuse })).toEqual(["m3", "m4"]);
    expect([await read("C"), await read("D")]).toEqual([undefined, undefined]);
    expect(await deliver([order("m1", "A"), order("m3", "C")])).toEqual([]);
    expect(done).toEqual(["B", "A", "C"]);
  });

  test("works alone: a handler that returns is success, one that throws is not", async () => {
    const alone = (handler: (event: SQSEvent) => Promise<unknown>): Promise<{ response: unknown; error: unknown }> =>
      invoke(middy(handler).use(idempotency(options())), { Records: [order("m1", "A")] });
    const failing = await alone(async () => {
      throw new Error("no");
    });
    expect(failing).toMatchObject({ response: undefined, error: { message: "no" } });
    expect(await read("A")).toBeUndefined();
    expect(await alone(async () => undefined)).toEqual({ response: { batchItemFailures: [] }, error: undefined });
    expect(await read("A")).toMatchObject({ status: { S: "COMPLETED" } });
  });

  test("F29 takes an item past its expiry for absent, though TTL has not removed it", async () => {
    await deliver([order("m1", "A")], { expires: "1h" });
    clock.advance(3_599_000);
    await deliver([order("m2", "A")], { expires: "1h" });
    clock.advance(2_000);
    await deliver([order("m3", "A", { other: true })], { expires: "1h" });
    expect(done).toEqual(["A", "A"]);
    expect(replayed.map(([id]) => id)).toEqual(["m2"]);
  });

  test.each([0, -1, 1, 60_000])(
    "F07 holds a key until an invocation with %i ms left is over, and some",
    async (left) => {
      const dead = new Promise<never>(() => undefined);
      const chain = middy(() => dead, { timeoutEarlyInMillis: 0 }).use(idempotency(options()));
      void invoke(chain, { Records: [order("m1", "A")] }, left);
      await expect.poll(() => read("A")).toMatchObject({ status: { S: "INPROGRESS" } });
      const heldMs = Math.max(0, left) + 5_000;
      expect(await read("A")).toMatchObject({ in_progress_expiration: { N: String(clock.now() + heldMs) } });
      clock.advance(heldMs);
      expect(await deliver([order("m1", "A")])).toEqual(["m1"]);
      clock.advance(1);
      expect(await deliver([order("m1", "A")])).toEqual([]);
      expect(done).toEqual(["A"]);
    },
  );

  test("holds a key for as long as a function may run where the host does not say", async () => {
    const chain = middy(async () => read("A")).use(idempotency(options()));
    await chain({ Records: [order("m1", "A")] }, {} as never);
    const until = String(clock.now() + 905_000);
    expect(await read("A")).toMatchObject({ in_progress_expiration: { N: until } });
  });

  test("F15 holds back what comes after a record of the same group on a FIFO queue", async () => {
    await deliver([order("m1", "A", { cents: 1 })]);
    const inGroup = (record: SQSRecord, group: string): SQSRecord => ({
      ...record,
      eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:plain.fifo",
      attributes: { ...record.attributes, MessageGroupId: group },
    });
    const conflict = inGroup(order("m2", "A", { cents: 2 }), "one");
    const event = [conflict, inGroup(order("m3", "B"), "two"), inGroup(order("m4", "C"), "one")];
    expect(await deliver(event)).toEqual(["m2", "m4"]);
    expect(done).toEqual(["A", "B"]);
    expect(await read("C")).toBeUndefined();
  });

  test("leaves a key alone whose handler middy gave up on: it may still run", async () => {
    let end = (): void => undefined;
    const slow = (): Promise<void> => new Promise((resolve) => (end = resolve));
    const chain = middy(slow).use([idempotency(options()), partialBatchResponse({ onFailure: () => undefined })]);
    expect((await invoke(chain, { Records: [order("m1", "A")] }, 100)).response).toEqual({
      batchItemFailures: [{ itemIdentifier: "m1" }],
    });
    expect(await read("A")).toMatchObject({ status: { S: "INPROGRESS" } });
    end();
  });

  test("F03 completes only what it still holds", async () => {
    const stalled = meanwhile(async () => {
      clock.advance(66_000);
      await deliver(
        [order("m1", "A", { first: 1 })],
        {},
        { handler: async () => [{ status: "fulfilled", value: "new" }] },
      );
    });
    expect(await deliver([order("m1", "A", { first: 1 })], {}, { handler: stalled })).toEqual([]);
    expect(await read("A")).toMatchObject({ status: { S: "COMPLETED" }, data: { S: "new" } });
  });

  test("F03 frees only what it still holds", async () => {
    const stalled = async (): Promise<never> => {
      clock.advance(66_000);
      await deliver([order("m1", "A")]);
      throw new Error("too late");
    };
    expect(await deliver([order("m1", "A")], {}, { handler: stalled })).toEqual(["m1"]);
    expect(await read("A")).toMatchObject({ status: { S: "COMPLETED" } });
  });

  test.each(["PutItem", "UpdateItem"])("F20 knows its own %s again when the answer was lost", async (name) => {
    let lost = 0;
    host.dynamodbProxy.interfere(async (call, forward) => {
      const reply = await forward();
      return call.name.endsWith(name) && lost++ === 0 ? "hang-up" : reply;
    });
    expect(await deliver([order("m1", "A")])).toEqual([]);
    expect(lost).toBe(2);
    expect(done).toEqual(["A"]);
    expect(await read("A")).toMatchObject({ status: { S: "COMPLETED" } });
  });

  test("F18 reports what the table does not answer for, and runs the rest", async () => {
    host.dynamodbProxy.interfere(async (call, forward) =>
      call.body.includes(`${prefix}#A`) && call.name.endsWith("PutItem") ? "hang-up" : forward(),
    );
    expect(await deliver([order("m1", "A"), order("m2", "B")])).toEqual(["m1"]);
    host.dynamodbProxy.interfere();
    expect(await deliver([order("m1", "A")])).toEqual([]);
    expect(done).toEqual(["B", "A"]);
    expect(told).toEqual([["m1", "BACKEND_UNAVAILABLE"]]);
  });

  test("F19 acknowledges work whose completion could not be kept: it is done", async () => {
    host.dynamodbProxy.interfere(async (call, forward) => (call.name.endsWith("UpdateItem") ? "hang-up" : forward()));
    expect(await deliver([order("m1", "A")])).toEqual([]);
    expect(await read("A")).toMatchObject({ status: { S: "INPROGRESS" } });
  });

  test("claims a key that vanished between the refusal and the look at it", async () => {
    await deliver([order("m1", "A")]);
    let looks = 0;
    host.dynamodbProxy.interfere(async (call, forward) => {
      if (call.name.endsWith("GetItem") && looks++ === 0)
        await host.sdk.dynamodb.send(new DeleteItemCommand({ TableName: TABLE, Key: { id: { S: `${prefix}#A` } } }));
      return forward();
    });
    expect(await deliver([order("m2", "A")])).toEqual([]);
    expect(done).toEqual(["A", "A"]);
  });

  test("reports a record whose key cannot be used, and runs the rest", async () => {
    const bad = recordWith("m1", { body: "no JSON" });
    expect(await deliver([bad, order("m2", "B")])).toEqual(["m1"]);
    expect(await deliver([order("m3", "C")], { key: () => "" })).toEqual(["m3"]);
    expect(await deliver([order("m4", "C")], { key: () => "x".repeat(2_049) })).toEqual(["m4"]);
    expect(told.map(([id, code]) => [id, code])).toEqual([
      ["m1", "undefined"],
      ["m3", "OPTION_INVALID"],
      ["m4", "OPTION_INVALID"],
    ]);
    expect(done).toEqual(["B"]);
  });

  test.each([
    ["nothing", undefined],
    ["a value that is no JSON", 1n],
    ["more than an item takes", "x".repeat(200_000)],
  ])("completes with no result on %s", async (_what, value) => {
    const handler = async (event: SQSEvent): Promise<unknown> =>
      event.Records.map(() => ({ status: "fulfilled", value }));
    expect(await deliver([order("m1", "A")], {}, { handler })).toEqual([]);
    expect(await deliver([order("m2", "A")], {}, { handler })).toEqual([]);
    expect(replayed).toEqual([["m2", undefined]]);
  });

  test("gives a message another chance whose replay could not be told", async () => {
    await deliver([order("m1", "A")]);
    const onReplay = (): void => {
      throw new Error("no");
    };
    expect(await deliver([order("m2", "A")], { onReplay })).toEqual(["m2"]);
    expect(await deliver([order("m2", "A")])).toEqual([]);
  });
});

describe("idempotency on a table of Powertools", () => {
  const put = (name: string, item: Record<string, unknown>): Promise<unknown> =>
    host.sdk.dynamodb.send(
      new PutItemCommand({ TableName: TABLE, Item: { id: { S: `${prefix}#${name}` }, ...(item as object) } }),
    );
  const seconds = (ms: number): { N: string } => ({ N: String((clock.now() + ms) / 1_000) });

  test("replays what Powertools completed, with its result, whatever its own hash says", async () => {
    const data = { M: { ok: { BOOL: true }, items: { L: [{ N: "1" }, { S: "two" }] } } };
    const validation = { S: "1B2M2Y8AsgTpgAmY7PhCfg==" };
    await put("A", { status: { S: "COMPLETED" }, expiration: seconds(1_000), data, validation });
    expect(await deliver([order("m1", "A")])).toEqual([]);
    expect(replayed).toEqual([["m1", { ok: true, items: [1, "two"] }]]);
    expect(done).toEqual([]);
  });

  test("waits for what Powertools has in progress, and takes it over after its time", async () => {
    const until = { N: String(clock.now() + 1_000) };
    await put("A", { status: { S: "INPROGRESS" }, expiration: seconds(3_600_000), in_progress_expiration: until });
    await put("B", { status: { S: "INPROGRESS" }, expiration: seconds(2_000) });
    expect(await deliver([order("m1", "A"), order("m2", "B")])).toEqual(["m1", "m2"]);
    clock.advance(1_001);
    // Without a time in progress, only the expiry of the item counts.
    expect(await deliver([order("m1", "A"), order("m2", "B")])).toEqual(["m2"]);
    clock.advance(1_000);
    expect(await deliver([order("m2", "B")])).toEqual([]);
    expect(done).toEqual(["A", "B"]);
  });

  test("writes the attributes that Powertools reads", async () => {
    let during: unknown;
    const looking = meanwhile(async () => (during = await read("A")));
    await deliver([order("m1", "A")], { expires: "1h" }, { handler: looking });
    expect(during).toEqual({
      id: { S: `${prefix}#A` },
      status: { S: "INPROGRESS" },
      expiration: { N: String(clock.now() / 1_000 + 65 + 3_600) },
      in_progress_expiration: { N: String(clock.now() + 65_000) },
      validation: { S: expect.stringMatching(/^sha256-/) },
      token: { S: expect.any(String) },
    });
    expect(await read("A")).toMatchObject({
      status: { S: "COMPLETED" },
      expiration: { N: String(clock.now() / 1_000 + 3_600) },
      data: { M: { charged: { S: "A" }, cents: { N: "12.5" } } },
    });
  });

  test("takes other names, and a sort key", async () => {
    await host.createTable("composite", ["PK", "SK"]);
    const more: Partial<IdempotencyOptions> = {
      table: "composite",
      attributes: {
        key: "PK",
        sortKey: "SK",
        partition: "idempotency#mail",
        status: "state",
        expiry: "ttl",
        data: "result",
      },
    };
    expect(await deliver([order("m1", "A")], more)).toEqual([]);
    expect(await deliver([order("m2", "A")], more)).toEqual([]);
    expect(done).toEqual(["A"]);
    const { Item } = await host.sdk.dynamodb.send(
      new GetItemCommand({
        TableName: "composite",
        Key: { PK: { S: "idempotency#mail" }, SK: { S: `${prefix}#A` } },
      }),
    );
    expect(Item).toMatchObject({ state: { S: "COMPLETED" }, ttl: { N: expect.any(String) }, result: { M: {} } });
  });
});
