import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { itemBytes } from "../../../lib/task/item-size.ts";
import {
  CREATION_SHARDS,
  RECORD_INPUT_MAX_BYTES,
  RECORD_MAX_BYTES,
  RECORD_META_MAX_BYTES,
  SPARSE_SHARDS,
} from "../../../lib/task/limits.ts";
import type { Item } from "../../../lib/task/record-codec.ts";
import {
  ATTRIBUTES,
  decodeRecord,
  encodePatch,
  encodeRecord,
  idOfPartition,
  RECORD_SORT_KEY,
  shardOf,
  taskPartition,
} from "../../../lib/task/record-codec.ts";
import type { TaskRecord } from "../../../lib/task/record.ts";
import { applyPatch, isGone } from "../../../lib/task/record.ts";
import { anyChange, anyRecord, anyTaskId, OPTIONAL_FIELDS } from "./arbitraries.ts";
import { refusalOf } from "./refusal.ts";

const NOW = 1_795_000_000_123;
/** A result of this size still rides in the largest record; larger ones go beside it. */
const RESULT_BYTES = 160;

/** A record in which every part has the greatest length that is legal or in use. */
const largest: TaskRecord = {
  id: "a".repeat(32),
  task: "n".repeat(64),
  lane: "critical",
  state: "succeeded",
  epoch: 12,
  fence: NOW,
  owner: "o".repeat(16),
  messageId: "f47ac10b-58cc-4372-a567-0e02b2c3d479",
  createdAt: NOW,
  dueAt: NOW,
  notBefore: NOW,
  startBy: NOW,
  attempts: 2_003,
  failures: 1_001,
  crashes: 1_000,
  snoozes: 9_999,
  interruptions: 999,
  startedAt: NOW,
  leaseUntil: NOW,
  owedAt: NOW,
  resends: 5,
  slotUs: NOW * 1_000 + 123,
  retentionMs: 366 * 86_400_000,
  input: { at: "record", json: "x".repeat(RECORD_INPUT_MAX_BYTES) },
  inputHash: "h".repeat(43),
  output: { at: "record", json: "x".repeat(RESULT_BYTES) },
  meta: "x".repeat(RECORD_META_MAX_BYTES),
  traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
  finishedAt: NOW,
  expiresAt: NOW,
};

describe("a record in the store", () => {
  test("comes back as it was written", () => {
    assert(
      fc.property(anyRecord, (record) => {
        expect(decodeRecord(encodeRecord(record))).toEqual(record);
      }),
      { numRuns: 2_000 },
    );
  });

  test("that was changed is what was changed and written", () => {
    assert(
      fc.property(anyRecord, anyChange, fc.subarray(OPTIONAL_FIELDS), (record, set, remove) => {
        const patch = { set, remove };
        const changed = changeItem(encodeRecord(record), encodePatch(record.id, patch));
        expect(decodeRecord(changed)).toEqual(applyPatch(record, patch));
      }),
      { numRuns: 2_000 },
    );
  });

  test("never sets and removes one attribute in one write", () => {
    assert(
      fc.property(anyChange, fc.subarray(OPTIONAL_FIELDS), (set, remove) => {
        const patch = encodePatch("0123456789abcdef", { set, remove });
        return patch.remove.every((name) => !(name in patch.set));
      }),
    );
  });

  test("is not changed by undefined, and never changes its id", () => {
    const patch = { set: { id: "another", messageId: undefined } };
    expect(encodePatch("0123456789abcdef", patch)).toEqual({ set: {}, remove: [] });
    expect(applyPatch({ ...largest, messageId: "m" }, { set: { messageId: undefined } }).messageId).toBe("m");
  });

  test("is in the creation index from the first write on, in the shard of its id", () => {
    assert(
      fc.property(anyRecord, (record) => {
        const item = encodeRecord(record);
        expect(item).toMatchObject({ pk: `t#${record.id}`, sk: RECORD_SORT_KEY, ct: record.createdAt });
        expect(item[ATTRIBUTES.creationShard]).toBe(shardOf(record.id, CREATION_SHARDS));
      }),
    );
  });

  test("is in the index of owed tasks exactly while it has a time there", () => {
    const { owedAt, ...rest } = largest;
    const owed = encodeRecord(largest);
    expect(owed).toMatchObject({ oa: owedAt, os: shardOf(largest.id, SPARSE_SHARDS) });
    expect(Object.keys(encodeRecord(rest))).not.toContain("os");
    expect(encodePatch(largest.id, { set: {}, remove: ["owedAt"] }).remove.toSorted()).toEqual(["oa", "os"]);
  });

  test("is in the index of dead tasks from its death to its redrive", () => {
    const dead = encodeRecord({ ...largest, state: "dead" });
    expect(dead).toMatchObject({ da: NOW, ds: shardOf(largest.id, SPARSE_SHARDS) });
    expect(Object.keys(encodeRecord(largest))).not.toContain("ds");
    expect(encodePatch(largest.id, { set: { state: "queued" } }).remove.toSorted()).toEqual(["da", "ds"]);
  });

  test("expires in seconds, as TTL wants them, and never early", () => {
    expect(encodeRecord({ ...largest, expiresAt: 1_795_000_000_001 })[ATTRIBUTES.expiresAt]).toBe(1_795_000_001);
    expect(encodeRecord({ ...largest, expiresAt: 1_795_000_000_000 })[ATTRIBUTES.expiresAt]).toBe(1_795_000_000);
  });

  test("F29 counts as absent from its expiry on, though the store still has it", () => {
    expect(isGone({ ...largest, expiresAt: NOW }, NOW - 1)).toBe(false);
    expect(isGone({ ...largest, expiresAt: NOW }, NOW)).toBe(true);
    const { expiresAt: _, ...open } = largest;
    expect(isGone(open, Number.MAX_SAFE_INTEGER)).toBe(false);
  });

  test.each([
    ["no input", { p: undefined }],
    ["a forged input", { p: "sj.bucket.1.1.key" }],
    ["an input that is a number", { p: 5 }],
    ["an unknown lane", { l: "urgent" }],
    ["an unknown state", { st: "scheduled" }],
    ["a state that is a property of objects", { st: "constructor" }],
    ["a fence that is a text", { f: "5" }],
    ["no creation time", { c: undefined }],
    ["a counter that is a text", { fl: "3" }],
    ["no hash", { h: undefined }],
  ])("with %s is refused: something else wrote it", (_, change) => {
    const item = Object.fromEntries(
      Object.entries({ ...encodeRecord(largest), ...change }).filter(([, value]) => value !== undefined),
    ) as Item;
    const error = refusalOf(() => decodeRecord(item));
    expect(error.code).toBe("BACKEND_UNAVAILABLE");
    expect(error.message).toContain(`t#${largest.id}`);
  });

  test("has a partition of its own, from which its id is read back", () => {
    assert(fc.property(anyTaskId, (id) => idOfPartition(taskPartition(id)) === id));
  });

  test("falls into every shard, evenly enough", () => {
    const counts = new Map<string, number>();
    for (let at = 0; at < 16_000; at++) {
      const shard = shardOf(`0192f0c1a2b34c5d8e9fa0b1c2${at.toString(16).padStart(6, "0")}`, CREATION_SHARDS);
      counts.set(shard, (counts.get(shard) ?? 0) + 1);
    }
    expect([...counts.keys()].map(Number).toSorted((a, b) => a - b)).toEqual([...Array(CREATION_SHARDS).keys()]);
    for (const count of counts.values()) expect(count).toBeGreaterThan(500);
  });
});

describe("the size of a record", () => {
  test("is one write unit at most, with the longest name and the largest input, result and meta that ride in it", () => {
    expect(itemBytes(encodeRecord(largest))).toBeLessThanOrEqual(RECORD_MAX_BYTES);
  });

  test("leaves 250 bytes for reason, message and progress where input and result lie elsewhere", () => {
    const ref = {
      at: "s3",
      hash: "h".repeat(43),
      bytes: 10 * 1_048_576,
      codec: "zstd",
      life: "d400",
      storedAt: NOW,
    } as const;
    const elsewhere: TaskRecord = { ...largest, state: "dead", input: ref, output: ref };
    expect(itemBytes(encodeRecord(elsewhere))).toBeLessThanOrEqual(RECORD_MAX_BYTES - 250);
  });

  test("is not taken up by counters of zero, which most records have", () => {
    const item = encodeRecord({
      ...largest,
      attempts: 0,
      failures: 0,
      crashes: 0,
      snoozes: 0,
      interruptions: 0,
      resends: 0,
    });
    expect(Object.keys(item).filter((name) => ["a", "fl", "cr", "sn", "in", "rs"].includes(name))).toEqual([]);
    expect(encodePatch(largest.id, { set: { resends: 0, failures: 1 } })).toEqual({ set: { fl: 1 }, remove: ["rs"] });
  });

  test("is a third of a write unit for a plain task on its happy path", () => {
    const plain: TaskRecord = {
      ...pickFields(largest, [
        "id",
        "lane",
        "epoch",
        "fence",
        "owner",
        "createdAt",
        "dueAt",
        "notBefore",
        "retentionMs",
      ]),
      ...pickFields(largest, ["inputHash", "messageId", "startedAt", "leaseUntil", "finishedAt", "expiresAt"]),
      task: "send-receipt",
      state: "succeeded",
      attempts: 1,
      failures: 0,
      crashes: 0,
      snoozes: 0,
      interruptions: 0,
      resends: 0,
      input: { at: "record", json: '{"orderId":"o-1"}' },
    };
    expect(itemBytes(encodeRecord(plain))).toBeLessThan(RECORD_MAX_BYTES / 3);
  });
});

/** Does to an item what an UpdateExpression of SET and REMOVE does. */
function changeItem(item: Item, patch: { set: Item; remove: string[] }): Item {
  const next: Item = { ...item, ...patch.set };
  for (const name of patch.remove) delete next[name];
  return next;
}

function pickFields<K extends keyof TaskRecord>(record: TaskRecord, fields: readonly K[]): Pick<TaskRecord, K> {
  return Object.fromEntries(fields.map((field) => [field, record[field]])) as Pick<TaskRecord, K>;
}
