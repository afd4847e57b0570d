import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { connect } from "../../lib/connect.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import { provision } from "../../lib/provision.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { encodeRecord } from "../../lib/task/record-codec.ts";
import type { Meter } from "../support/meter.ts";
import { createMeter } from "../support/meter.ts";
import { aRecord } from "../support/sample-record.ts";

let stack: EmbeddedStack;
let meter: Meter;
let backend: Backend;
let ids = 0;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  const topology = await provision({ queue: "metered" }, { endpoint: stack.endpoints });
  meter = createMeter(topology);
  ({ backend } = await connect(topology, undefined, { sdk: meter.sdk }));
});
afterAll(async () => {
  meter.close();
  await stack.close();
});
beforeEach(() => meter.reset());

const newId = (): string => `metered-${++ids}`;

/** A record whose item has exactly so many bytes. */
function recordOf(bytes: number): ReturnType<typeof aRecord> {
  const record = aRecord({ id: newId(), traceparent: "" });
  return { ...record, traceparent: "x".repeat(bytes - itemBytes(encodeRecord(record))) };
}

describe("the meter counts write units", () => {
  test.each([
    { bytes: 1_024, units: 1 },
    { bytes: 1_025, units: 2 },
    { bytes: 2_048, units: 2 },
    { bytes: 2_049, units: 3 },
  ])("of an item of $bytes bytes, and one for its entry in an index", async ({ bytes, units }) => {
    const record = recordOf(bytes);
    expect(await backend.ledger.recordMany([record], record.createdAt)).toEqual([{ kind: "created" }]);
    expect(meter.totals()).toMatchObject({ calls: { PutItem: 1 }, writeUnits: units + 1, readUnits: 0 });
  });

  test("of a refused write by the item that it met", async () => {
    const record = recordOf(1_500);
    await backend.ledger.recordMany([record], record.createdAt);
    meter.reset();
    const [outcome] = await backend.ledger.recordMany([{ ...record, traceparent: "" }], record.createdAt);
    expect(outcome?.kind).toBe("exists");
    expect(meter.calls[0]).toMatchObject({
      operation: "PutItem",
      error: "ConditionalCheckFailedException",
      writeUnits: 2,
    });
  });

  test("of an update by the larger of before and after, and of each index entry that comes, goes or moves", async () => {
    const record = recordOf(1_000);
    const { id, fence, epoch, createdAt } = record;
    await backend.ledger.recordMany([record], createdAt);
    const change = async (patch: Parameters<Backend["ledger"]["changeMany"]>[0][number]["patch"]): Promise<number> => {
      meter.reset();
      const [outcome] = await backend.ledger.changeMany([{ id, seen: { state: "queued", fence, epoch }, patch }]);
      expect(outcome?.kind).toBe("written");
      return meter.totals().writeUnits;
    };
    expect(await change({ set: { notBefore: createdAt + 1 } })).toBe(1);
    expect(await change({ set: { owedAt: createdAt } })).toBe(2);
    expect(await change({ set: { owedAt: createdAt + 1 } })).toBe(3);
    expect(await change({ set: { owedAt: createdAt + 1 } })).toBe(1);
    expect(await change({ set: { message: "m".repeat(100) } })).toBe(2);
    expect(await change({ set: {}, remove: ["message", "owedAt"] })).toBe(3);
  });

  test("of writes to one item that meet", async () => {
    const record = recordOf(500);
    const outcomes = await Promise.all([1, 2, 3].map(() => backend.ledger.recordMany([record], record.createdAt)));
    expect(
      outcomes
        .flat()
        .map(({ kind }) => kind)
        .sort(),
    ).toEqual(["created", "exists", "exists"]);
    expect(meter.calls.filter(({ operation }) => operation === "PutItem").map(({ writeUnits }) => writeUnits)).toEqual([
      2, 1, 1,
    ]);
  });
});

describe("the meter counts read units", () => {
  test("by 4 KB, half if they may be old, and the least for what is not there", async () => {
    const [small, large] = [recordOf(4_096), recordOf(4_097)];
    await backend.ledger.recordMany([small, large], small.createdAt);
    const read = async (ids: string[], eventually: boolean): Promise<number> => {
      meter.reset();
      await backend.ledger.readMany(ids, { eventually });
      return meter.totals().readUnits;
    };
    expect(await read([small.id], false)).toBe(1);
    expect(await read([large.id], false)).toBe(2);
    expect(await read([large.id], true)).toBe(1);
    expect(await read([small.id, large.id, "nobody"], false)).toBe(4);
    expect(await read(["nobody"], true)).toBe(0.5);
  });

  test("of a query by the sum of what it finds", async () => {
    const id = newId();
    for (const key of ["a1", "a2", "b1"])
      await backend.ledger.putSide({ id, key, value: "x".repeat(2_500), expiresAt: Date.now() + 100_000 });
    meter.reset();
    expect(await backend.ledger.readSides(id, "a")).toHaveLength(2);
    expect(meter.totals()).toMatchObject({ calls: { Query: 1 }, readUnits: 2, writeUnits: 0 });
  });
});

describe("the meter counts requests", () => {
  test("of SQS by 64 KiB of what they carry", async () => {
    const send = (bodies: string[]) =>
      backend.queue.send(
        { lane: "low" },
        bodies.map((body) => ({ body })),
      );
    await send(["x".repeat(65_536)]);
    expect(meter.totals()).toMatchObject({ calls: { SendMessageBatch: 1 }, sqsRequests: 1 });
    await send(["x".repeat(65_537)]);
    expect(meter.totals()).toMatchObject({ calls: { SendMessageBatch: 2 }, sqsRequests: 3 });
    meter.reset();
    const messages = await backend.queue.receive({ lane: "low" }, { max: 10, waitMs: 0, visibilityMs: 60_000 });
    await backend.queue.acknowledge(
      { lane: "low" },
      messages.map(({ receipt }) => receipt),
    );
    expect(messages).toHaveLength(2);
    expect(meter.totals()).toEqual({
      calls: { ReceiveMessage: 1, DeleteMessageBatch: 1 },
      sqsRequests: 4,
      readUnits: 0,
      writeUnits: 0,
    });
    expect(meter.calls.map(({ detail }) => detail)).toEqual(["", "2 entries"]);
  });

  test("of S3, with their size", async () => {
    await backend.payloads.put("d30/x/y", new Uint8Array(70_000));
    await backend.payloads.get("d30/x/y");
    expect(meter.calls.map(({ operation, requestBytes, detail }) => [operation, requestBytes, detail])).toEqual([
      ["PutObject", 70_000, "d30/x/y"],
      ["GetObject", 0, "d30/x/y"],
    ]);
  });
});
