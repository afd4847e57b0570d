import { TasklaneError } from "./errors.ts";
import { isLane } from "./lane.ts";
import { CREATION_SHARDS, SPARSE_SHARDS } from "./limits.ts";
import { decodePayloadRef, encodePayloadRef } from "./payload-ref.ts";
import { isTaskState } from "./states.ts";
import type { OptionalField, RecordPatch, TaskRecord } from "./record.ts";

/** A stored item: flat, with the short attribute names that keep it within one write unit. */
export type Item = Record<string, string | number>;

/** Attribute names that conditions and indexes name. */
export const ATTRIBUTES = {
  partition: "pk",
  sort: "sk",
  state: "st",
  fence: "f",
  owner: "o",
  epoch: "e",
  notBefore: "nb",
  leaseUntil: "lu",
  attempts: "a",
  crashes: "cr",
  slot: "sl",
  expiresAt: "x",
  cancelRequested: "cq",
  creationShard: "cs",
  creationTime: "ct",
  owedShard: "os",
  owedTime: "oa",
  deadShard: "ds",
  deadTime: "da",
} as const;

/** Sort key of a task's record; side items have others. */
export const RECORD_SORT_KEY = "-";

/** Partition key of everything that belongs to a task. */
export function taskPartition(id: string): string {
  return `t#${id}`;
}

/** The id in a partition key. */
export function idOfPartition(partition: string): string {
  return partition.slice(2);
}

/** Which of so many shards an id falls into. */
export function shardOf(id: string, shards: number): string {
  let sum = 0;
  for (let place = 0; place < id.length; place++) sum = (Math.imul(sum, 31) + id.charCodeAt(place)) >>> 0;
  return String(sum % shards);
}

/*
 * TTL wants seconds; the rest is milliseconds. Rounding up keeps the promise that nothing goes early.
 */
const PLAIN: Readonly<Record<string, keyof TaskRecord>> = {
  t: "task",
  l: "lane",
  st: "state",
  e: "epoch",
  f: "fence",
  o: "owner",
  m: "messageId",
  c: "createdAt",
  du: "dueAt",
  nb: "notBefore",
  sb: "startBy",
  a: "attempts",
  fl: "failures",
  cr: "crashes",
  sn: "snoozes",
  in: "interruptions",
  sa: "startedAt",
  lu: "leaseUntil",
  cq: "cancelRequested",
  oa: "owedAt",
  rs: "resends",
  sl: "slotUs",
  rt: "retentionMs",
  h: "inputHash",
  mt: "meta",
  tp: "traceparent",
  r: "reason",
  ms: "message",
  pr: "progress",
  fa: "finishedAt",
};
const NAMES = new Map(Object.entries(PLAIN).map(([name, field]) => [field, name]));
/** Counters that are zero in most records are left out. */
const ZERO_LEFT_OUT: readonly (keyof TaskRecord)[] = [
  "attempts",
  "failures",
  "crashes",
  "snoozes",
  "interruptions",
  "resends",
];

/** Writes a record as an item, with the attributes of the indexes it belongs to. */
export function encodeRecord(record: TaskRecord): Item {
  const { set } = encodePatch(record.id, { set: record });
  return {
    pk: taskPartition(record.id),
    sk: RECORD_SORT_KEY,
    ...set,
    cs: shardOf(record.id, CREATION_SHARDS),
    ct: record.createdAt,
  };
}

/** Writes a patch as attributes to set and attributes to remove. */
export function encodePatch(id: string, patch: RecordPatch): { set: Item; remove: string[] } {
  const set: Item = {};
  const remove: string[] = [];
  for (const [field, value] of Object.entries(patch.set) as [keyof TaskRecord, unknown][]) {
    if (value === undefined || field === "id") continue;
    const name = NAMES.get(field);
    if (name !== undefined && (typeof value === "string" || typeof value === "number")) {
      if (value === 0 && ZERO_LEFT_OUT.includes(field)) remove.push(name);
      else set[name] = value;
    }
  }
  if (patch.set.input) set["p"] = encodePayloadRef(patch.set.input);
  if (patch.set.output) set["q"] = encodePayloadRef(patch.set.output);
  if (patch.set.metaAside) set["mx"] = 1;
  if (patch.set.expiresAt !== undefined) set["x"] = Math.ceil(patch.set.expiresAt / 1_000);
  if (patch.set.owedAt !== undefined) set["os"] = shardOf(id, SPARSE_SHARDS);
  if (patch.set.state === "dead") {
    set["ds"] = shardOf(id, SPARSE_SHARDS);
    set["da"] = patch.set.finishedAt ?? 0;
  } else if (patch.set.state === "queued") remove.push("ds", "da");
  for (const field of patch.remove ?? []) remove.push(...removedNames(field));
  return { set, remove: remove.filter((name) => !(name in set)) };
}

function removedNames(field: OptionalField): string[] {
  if (field === "owedAt") return ["oa", "os"];
  if (field === "expiresAt") return ["x"];
  if (field === "output") return ["q"];
  if (field === "metaAside") return ["mx"];
  const name = NAMES.get(field);
  return name === undefined ? [] : [name];
}

/**
 * Reads an item back.
 *
 * @throws TasklaneError `BACKEND_UNAVAILABLE` for an item that this code did not write
 */
export function decodeRecord(item: Item): TaskRecord {
  const input = decodePayloadRef(text(item, "p"));
  const lane = text(item, "l");
  const state = text(item, "st");
  if (input === undefined) return refuse(item, "p");
  if (!isLane(lane)) return refuse(item, "l");
  if (!isTaskState(state)) return refuse(item, "st");
  const record: TaskRecord = {
    id: idOfPartition(text(item, "pk")),
    task: text(item, "t"),
    lane,
    state,
    epoch: count(item, "e"),
    fence: count(item, "f"),
    owner: text(item, "o"),
    createdAt: count(item, "c"),
    dueAt: count(item, "du"),
    notBefore: count(item, "nb"),
    attempts: counter(item, "a"),
    failures: counter(item, "fl"),
    crashes: counter(item, "cr"),
    snoozes: counter(item, "sn"),
    interruptions: counter(item, "in"),
    resends: counter(item, "rs"),
    retentionMs: count(item, "rt"),
    input,
    inputHash: text(item, "h"),
  };
  for (const [name, field] of Object.entries(PLAIN)) {
    if (!(field in record) && item[name] !== undefined) Object.assign(record, { [field]: item[name] });
  }
  const output = item["q"] === undefined ? undefined : decodePayloadRef(text(item, "q"));
  if (output !== undefined) record.output = output;
  if (item["mx"] !== undefined) record.metaAside = true;
  if (typeof item["x"] === "number") record.expiresAt = item["x"] * 1_000;
  return record;
}

function text(item: Item, name: string): string {
  const value = item[name];
  return typeof value === "string" ? value : refuse(item, name);
}

function counter(item: Item, name: string): number {
  return item[name] === undefined ? 0 : count(item, name);
}

function count(item: Item, name: string): number {
  const value = item[name];
  return typeof value === "number" ? value : refuse(item, name);
}

function refuse(item: Item, name: string): never {
  throw new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `The ledger's item ${item["pk"]} has no readable attribute "${name}"`,
    received: item[name],
    fix: "check that nothing else writes into this table",
  });
}
