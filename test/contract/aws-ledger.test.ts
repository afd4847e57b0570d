import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../lib/connect.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import type { Claim, HeldWrite, Reservation } from "../../lib/ports/ledger.ts";
import { provision } from "../../lib/provision.ts";
import { systemClock } from "../../lib/system.ts";
import { minuteOf } from "../../lib/task/counters.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import type { Interference, InterferingProxy } from "../support/interfering-proxy.ts";
import { jsonReply, startProxy } from "../support/interfering-proxy.ts";
import { aRecord } from "../support/sample-record.ts";

let stack: EmbeddedStack;
let proxy: InterferingProxy;
let ledger: Backend["ledger"];
let backend: Backend;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  const topology = await provision({ queue: "ledger" }, { endpoint: stack.endpoints });
  proxy = await startProxy(stack.endpoints.dynamodb);
  ({ backend } = await connect({ ...topology, endpoint: { ...stack.endpoints, dynamodb: proxy.url } }, undefined));
  ledger = backend.ledger;
});
afterAll(async () => {
  backend.close();
  await proxy.close();
  await stack.close();
});
afterEach(() => {
  proxy.interfere();
  proxy.calls.length = 0;
});

/** Does the work, and loses the first so many answers. */
function loseAnswers(count: number): Interference {
  let left = count;
  return async (_, forward) => {
    const reply = await forward();
    return left-- > 0 ? "hang-up" : reply;
  };
}

/** Answers a refusal with the item that it met, as AWS does and the embedded stack does not. */
const tellItem: Interference = async (call, forward) => {
  const reply = await forward();
  if (reply.status !== 400 || !reply.body.includes("ConditionalCheckFailedException")) return reply;
  const request: {
    TableName: string;
    Key?: object;
    Item?: { pk: object; sk: object };
    ReturnValuesOnConditionCheckFailure?: string;
  } = JSON.parse(call.body.toString());
  if (request.ReturnValuesOnConditionCheckFailure !== "ALL_OLD") return reply;
  const { pk, sk } = request.Item ?? {};
  const read = await readBehind({ TableName: request.TableName, Key: request.Key ?? { pk, sk }, ConsistentRead: true });
  return jsonReply(400, { ...JSON.parse(reply.body.toString()), Item: read });
};

async function readBehind(input: object): Promise<unknown> {
  const answer = await fetch(stack.endpoints.dynamodb, {
    method: "POST",
    headers: {
      "content-type": "application/x-amz-json-1.0",
      "x-amz-target": "DynamoDB_20120810.GetItem",
      "x-amz-date": "20260101T000000Z",
      authorization:
        "AWS4-HMAC-SHA256 Credential=test/20260101/us-east-1/dynamodb/aws4_request, SignedHeaders=host, Signature=0",
    },
    body: JSON.stringify(input),
  });
  return ((await answer.json()) as { Item: unknown }).Item;
}

async function recorded(fields: Partial<TaskRecord> = {}): Promise<TaskRecord> {
  const record = aRecord(fields);
  expect(await ledger.recordMany([record], record.createdAt)).toEqual([{ kind: "created" }]);
  proxy.calls.length = 0;
  return record;
}

function claimOf(record: TaskRecord, owner: string): Claim {
  const now = Date.now();
  return { id: record.id, owner, messageId: `message-${owner}`, now, leaseUntil: now + 30_000 };
}

async function claimed(): Promise<HeldWrite> {
  const record = await recorded();
  const [outcome] = await ledger.claimMany([claimOf(record, "worker")]);
  if (outcome?.kind !== "written") throw new Error("not claimed");
  proxy.calls.length = 0;
  return { id: record.id, fence: outcome.record.fence, owner: "worker", patch: { set: {} } };
}

describe("a write whose answer is lost", () => {
  test("F20 a claim is recognised by its owner", async () => {
    const record = await recorded();
    proxy.interfere(loseAnswers(1));
    const [outcome] = await ledger.claimMany([claimOf(record, "worker")]);
    expect(outcome).toMatchObject({
      kind: "written",
      record: { owner: "worker", attempts: 1, fence: record.fence + 1 },
    });
    expect(proxy.count("UpdateItem")).toBe(2);
  });

  test("F20 a claim of somebody else is not", async () => {
    const record = await recorded();
    await ledger.claimMany([claimOf(record, "other")]);
    proxy.interfere(loseAnswers(1));
    const [outcome] = await ledger.claimMany([claimOf(record, "worker")]);
    expect(outcome).toMatchObject({ kind: "refused", record: { owner: "other" } });
  });

  test("F20 a settle is recognised by fence and owner", async () => {
    const held = await claimed();
    proxy.interfere(loseAnswers(1));
    const settle = { ...held, patch: { set: { state: "succeeded", finishedAt: 5 } } } as const;
    expect(await ledger.settleMany([settle])).toMatchObject([{ kind: "written", record: { state: "succeeded" } }]);
    expect(proxy.count("UpdateItem")).toBe(2);
    // A later holder's settle is not ours.
    expect(await ledger.settleMany([{ ...settle, fence: held.fence - 1 }])).toMatchObject([{ kind: "refused" }]);
  });

  test("a renewal that was done is done again", async () => {
    const held = await claimed();
    proxy.interfere(loseAnswers(1));
    const renewal = { ...held, patch: { set: { leaseUntil: 77 } } };
    expect(await ledger.renewMany([renewal])).toMatchObject([{ kind: "written", record: { leaseUntil: 77 } }]);
  });

  test("F20 a new record is told as there, with our own owner", async () => {
    const record = aRecord();
    proxy.interfere(loseAnswers(1));
    const [outcome] = await ledger.recordMany([record], record.createdAt);
    expect(outcome).toMatchObject({ kind: "exists", record: { owner: record.owner } });
  });

  test("F20 a new record is unknown if no answer comes at all, though it may be there", async () => {
    const record = aRecord();
    proxy.interfere(loseAnswers(Infinity));
    const [outcome] = await ledger.recordMany([record], record.createdAt);
    expect(outcome).toMatchObject({ kind: "unknown", error: { code: "BACKEND_UNAVAILABLE" } });
    expect(proxy.count("PutItem")).toBe(4);
    proxy.interfere();
    expect(await ledger.readMany([record.id])).toMatchObject([{ owner: record.owner }]);
  });

  test("other writes have failed if no answer comes at all", async () => {
    const [record, held] = [await recorded(), await claimed()];
    proxy.interfere(async () => jsonReply(503, { message: "no" }));
    expect(await ledger.claimMany([claimOf(record, "worker")])).toMatchObject([{ kind: "failed" }]);
    expect(await ledger.settleMany([{ ...held, patch: { set: { state: "dead" } } }])).toMatchObject([
      { kind: "failed" },
    ]);
    const seen = { state: "queued", fence: record.fence, epoch: 1 } as const;
    expect(await ledger.changeMany([{ id: record.id, seen, patch: { set: { state: "cancelled" } } }])).toMatchObject([
      { kind: "failed", error: { code: "BACKEND_UNAVAILABLE" } },
    ]);
  });

  test("a document is recognised by value and version, if it was sent twice", async () => {
    proxy.interfere(loseAnswers(1));
    expect(await ledger.writeDocument("leader", "me", 0)).toBe(true);
    proxy.interfere();
    expect(await ledger.writeDocument("leader", "me", 0)).toBe(false);
    expect(await ledger.readDocument("leader")).toEqual({ value: "me", version: 1 });
  });

  test("counters may be added twice: they are approximate, and nobody waits for them", async () => {
    const minute = minuteOf(Date.now());
    const counter = { lane: "normal", task: "lost", name: "started", count: 1 } as const;
    proxy.interfere(loseAnswers(1));
    await ledger.addCounters(minute, [counter], minute + 3_600_000);
    proxy.interfere();
    expect(proxy.count("UpdateItem")).toBe(2);
    expect(await ledger.readCounters(minute, minute)).toEqual([{ minute, counters: [{ ...counter, count: 2 }] }]);
  });

  test("slots of a rate limit are wasted, never given twice", async () => {
    const ask: Reservation = {
      bucket: "lost",
      count: 2,
      nowUs: 1_000_000,
      intervalUs: 1_000,
      floorUs: 1_000_000,
      horizonUs: 2_000_000,
      expiresAt: Date.now() + 60_000,
    };
    expect(await ledger.reserve(ask)).toEqual({ granted: 2, firstUs: 1_000_000, nextUs: 1_002_000 });
    proxy.interfere(loseAnswers(1));
    expect(await ledger.reserve(ask)).toEqual({ granted: 2, firstUs: 1_004_000, nextUs: 1_006_000 });
  });
});

describe("a write that was certainly not done", () => {
  test("has failed, and says what is missing", async () => {
    proxy.interfere(async () =>
      jsonReply(400, { __type: "com.amazon.coral.service#AccessDeniedException", Message: "not you" }),
    );
    const record = aRecord();
    const [outcome] = await ledger.recordMany([record], record.createdAt);
    expect(outcome).toMatchObject({
      kind: "failed",
      error: { code: "PERMISSION_DENIED", fix: expect.stringContaining("queue.grants.enqueue(role)") },
    });
    expect(proxy.count("PutItem")).toBe(1);
  });

  test("does not take its neighbours along", async () => {
    const records = Array.from({ length: 25 }, () => aRecord());
    proxy.interfere((call, forward) =>
      call.body.includes(`"t#${records[13]?.id}"`)
        ? Promise.resolve(jsonReply(400, { __type: "x#ValidationException" }))
        : forward(),
    );
    const outcomes = await ledger.recordMany(records, Date.now());
    expect(outcomes.map(({ kind }) => kind)).toEqual(records.map((_, place) => (place === 13 ? "failed" : "created")));
  });
});

describe("a refused write", () => {
  test("reads nothing where the refusal tells the item", async () => {
    const [record, held] = [await recorded(), await claimed()];
    proxy.interfere(tellItem);
    expect(await ledger.recordMany([record], Date.now())).toMatchObject([
      { kind: "exists", record: { owner: record.owner } },
    ]);
    expect(await ledger.renewMany([{ ...held, owner: "other", patch: { set: { leaseUntil: 1 } } }])).toMatchObject([
      { kind: "refused", record: { owner: "worker" } },
    ]);
    expect(proxy.calls.map(({ name }) => name.split(".")[1])).toEqual(["PutItem", "UpdateItem"]);
  });

  test("reads all that it does not tell in one request", async () => {
    const records = [await recorded(), await recorded(), await recorded()];
    const claims = records.map((record) => ({ ...claimOf(record, "late"), now: 0 }));
    const outcomes = await ledger.claimMany([...claims, { ...claimOf(aRecord(), "nobody") }]);
    expect(outcomes).toMatchObject([
      ...records.map(({ id }) => ({ kind: "refused", record: { id } })),
      { kind: "refused" },
    ]);
    expect(outcomes[3]).toEqual({ kind: "refused", record: undefined });
    expect(proxy.calls.map(({ name }) => name.split(".")[1])).toEqual([
      ...claims.map(() => "UpdateItem"),
      "UpdateItem",
      "BatchGetItem",
    ]);
  });

  test("is unknown for a new record if the look at what is there fails", async () => {
    const record = await recorded();
    proxy.interfere((call, forward) =>
      call.name.endsWith("GetItem") ? Promise.resolve(jsonReply(500, {})) : forward(),
    );
    expect(await ledger.recordMany([record], Date.now())).toMatchObject([{ kind: "unknown" }]);
  });
});

test("reads what a batch left out until all is there", async () => {
  const records = await Promise.all(Array.from({ length: 130 }, () => recorded()));
  proxy.calls.length = 0;
  proxy.interfere(async (call, forward) => {
    const request: { RequestItems: Record<string, { Keys: unknown[]; ConsistentRead: boolean }> } = JSON.parse(
      call.body.toString(),
    );
    const asked = request.RequestItems["ledger"] ?? { Keys: [], ConsistentRead: false };
    const [now, later] = [asked.Keys.slice(0, 40), asked.Keys.slice(40)];
    const reply = await forward(Buffer.from(JSON.stringify({ RequestItems: { ledger: { ...asked, Keys: now } } })));
    const answer: object = JSON.parse(reply.body.toString());
    const rest = later.length === 0 ? {} : { ledger: { ...asked, Keys: later } };
    return jsonReply(200, { ...answer, UnprocessedKeys: rest });
  });
  const ids = records.map(({ id }) => id);
  const found = await ledger.readMany([...ids, "nobody", ...ids.slice(0, 2)]);
  expect(found.map((record) => record?.id)).toEqual([...ids, undefined, ...ids.slice(0, 2)]);
  expect(proxy.count("BatchGetItem")).toBe(4);
});

test("a token of an index's page that was tampered with is refused", async () => {
  await Promise.all([recorded(), recorded()]);
  for (const next of ["", "e30", "bm90IGpzb24", Buffer.from('{"pk":"t#a","sk":{"S":"-"}}').toString("base64url")]) {
    const query = { index: "created", shard: 0, from: 0, until: Infinity, limit: 1, next } as const;
    await expect(ledger.query(query)).rejects.toMatchObject({ code: "OPTION_INVALID" });
  }
});

test("a side item cannot take the record's place", async () => {
  const item = { id: "x", key: "-", value: "v", expiresAt: Date.now() + 1_000 };
  await expect(ledger.putSide(item)).rejects.toMatchObject({ code: "OPTION_INVALID" });
});

describe("reservations", () => {
  const base = { intervalUs: 1_000, expiresAt: systemClock.now() + 60_000 };

  test("cost one write in the common case", async () => {
    const ask = (nowUs: number): Reservation => ({
      ...base,
      bucket: "common",
      count: 3,
      nowUs,
      floorUs: nowUs - 5_000,
      horizonUs: nowUs + 60_000_000,
    });
    for (const nowUs of [10_000_000, 10_000_100, 10_000_200, 20_000_000, 20_000_001]) await ledger.reserve(ask(nowUs));
    expect(proxy.calls.map(({ name }) => name.split(".")[1])).toEqual(Array.from({ length: 5 }, () => "UpdateItem"));
  });

  test("of a full bucket cost nothing more once it is known to be full", async () => {
    const ask: Reservation = { ...base, bucket: "full", count: 10, nowUs: 0, floorUs: 0, horizonUs: 5_000 };
    expect(await ledger.reserve(ask)).toEqual({ granted: 6, firstUs: 0, nextUs: 6_000 });
    proxy.calls.length = 0;
    expect(await ledger.reserve(ask)).toEqual({ granted: 0, firstUs: 6_000, nextUs: 6_000 });
    expect(proxy.calls).toEqual([]);
  });

  test("are what the memory ledger gives, from processes that know nothing of each other", async () => {
    let buckets = 0;
    const steps = fc.array(
      fc.record({
        count: fc.integer({ min: 1, max: 9 }),
        after: fc.integer({ min: 0, max: 20_000 }),
        by: fc.integer({ min: 0, max: 1 }),
      }),
      { minLength: 1, maxLength: 8 },
    );
    const { backend: second } = await connect({ ...backend.topology, endpoint: stack.endpoints }, undefined);
    await fc.assert(
      fc.asyncProperty(steps, async (asked) => {
        const memory = createMemoryBackend({ clock: systemClock }).ledger;
        const bucket = `same-${++buckets}`;
        let nowUs = 1_000_000;
        for (const { count, after, by } of asked) {
          nowUs += after;
          const ask = { ...base, bucket, count, nowUs, floorUs: nowUs - 4_000, horizonUs: nowUs + 12_000 };
          expect(await (by === 0 ? ledger : second.ledger).reserve(ask)).toEqual(await memory.reserve(ask));
        }
      }),
      { numRuns: 40 },
    );
    second.close();
  });

  test("made at the same time never share a slot", async () => {
    const others = await Promise.all(
      [1, 2, 3, 4].map(() => connect({ ...backend.topology, endpoint: stack.endpoints }, undefined)),
    );
    const ask: Reservation = { ...base, bucket: "race", count: 7, nowUs: 0, floorUs: 0, horizonUs: 99_000 };
    const answers = await Promise.all(
      others.flatMap((other) => [1, 2, 3, 4, 5].map(() => other.backend.ledger.reserve(ask))),
    );
    const slots = answers.flatMap(({ granted, firstUs }) =>
      Array.from({ length: granted }, (_, at) => firstUs + at * 1_000),
    );
    expect(new Set(slots).size).toBe(slots.length);
    expect(Math.max(...slots)).toBeLessThanOrEqual(99_000);
    expect(slots.length).toBeGreaterThan(90);
    for (const other of others) other.backend.close();
  });
});
