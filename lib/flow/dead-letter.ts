import type { Claim, SeenWrite } from "../ports/ledger.ts";
import type { ErrorCode } from "../task/errors.ts";
import type { DeadLetter } from "../task/envelope.ts";
import { encodeDeadLetter } from "../task/envelope.ts";
import type { Json } from "../task/json.ts";
import { parseUntrustedJson } from "../task/json.ts";
import { CLOCK_SKEW_MAX_MS, DLQ_COPY_MAX_BYTES, DLQ_RETENTION_MS, QUEUE_RETENTION_MS } from "../task/limits.ts";
import { encodePayloadRef } from "../task/payload-ref.ts";
import type { TaskRecord } from "../task/record.ts";
import { FRESH_COUNTS } from "../task/record.ts";
import { carrierOf } from "../task/topology.ts";
import { shorten } from "../task/outcome.ts";
import type { Delivery } from "./claim.ts";
import { claimOrAsk } from "./claim.ts";
import { metaKey } from "./enqueue.ts";
import { retentionOf } from "./expire.ts";
import { noteCrash, readHistory } from "./history.ts";
import { hashText, loadInput, placePayload, storeInput } from "./payload.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";

const DAY_MS = 86_400_000;

/** How long a dead record is kept: longer than its copy in the dead letter queue can be there. */
export function deadRetentionMs(record: Pick<TaskRecord, "retentionMs">): number {
  return Math.max(record.retentionMs, DLQ_RETENTION_MS + QUEUE_RETENTION_MS + DAY_MS);
}

/** Longest reason that the hot record keeps; the whole text is in the history. */
export const RECORD_MESSAGE_MAX_CHARS = 100;

/** Sends the copy of a dead task to its lane's dead letter queue. Answers whether it was taken. */
export async function sendDeadLetter(services: Services, record: TaskRecord): Promise<boolean> {
  const body = await writeDeadLetter(services, record);
  const lane = carrierOf(services.backend.topology, record.lane);
  const [answer] = await services.backend.queue.send({ lane, dead: true }, [{ body }]);
  return answer?.ok === true;
}

async function writeDeadLetter(services: Services, record: TaskRecord): Promise<string> {
  const letter: DeadLetter = {
    kind: "dead-letter",
    queue: services.backend.topology.queue,
    id: record.id,
    task: record.task,
    epoch: record.epoch,
    reason: record.reason ?? "TERMINAL",
    message: record.message ?? "",
    diedAt: record.finishedAt ?? services.clock.now(),
  };
  const [payload, history, meta] = await Promise.all([
    // What cannot fit is not read: the letter then tells where it lies.
    record.input.at !== "record" && record.input.bytes > DLQ_COPY_MAX_BYTES
      ? undefined
      : loadInput(services, record.id, record.input).catch(() => undefined),
    readHistory(services, record).catch(() => []),
    readMeta(services, record).catch(() => undefined),
  ]);
  return fit(letter, { payload, history: history.length === 0 ? undefined : toJson(history), meta }, record);
}

/** Leaves out the payload, then the history, until the letter fits one billed chunk; a reference tells where the payload lies. */
function fit(letter: DeadLetter, parts: Pick<DeadLetter, "payload" | "history" | "meta">, record: TaskRecord): string {
  const reference = record.input.at === "record" ? undefined : encodePayloadRef(record.input);
  for (const kept of [
    { ...parts, payload: parts.payload ?? reference },
    { history: parts.history, meta: parts.meta, payload: reference },
    { payload: reference },
  ]) {
    const body = encodeDeadLetter({ ...letter, ...kept });
    if (body.length <= DLQ_COPY_MAX_BYTES) return body;
  }
  return encodeDeadLetter(letter);
}

function toJson(value: unknown): Json | undefined {
  const parsed = parseUntrustedJson(JSON.stringify(value), DLQ_COPY_MAX_BYTES * 4);
  return parsed.ok ? parsed.value : undefined;
}

/** The meta of a task, wherever it lies. */
export async function readMeta(services: Services, record: TaskRecord): Promise<{ [key: string]: Json } | undefined> {
  const key = metaKey(record.createdAt);
  const json = record.metaAside
    ? (await services.backend.ledger.readSides(record.id, key)).find((item) => item.key === key)?.value
    : record.meta;
  const parsed = json === undefined ? undefined : parseUntrustedJson(json, DLQ_COPY_MAX_BYTES);
  if (parsed?.ok !== true || typeof parsed.value !== "object" || parsed.value === null || Array.isArray(parsed.value))
    return undefined;
  return parsed.value;
}

/** What came of burying something. */
export type Buried = "buried" | "moved-on" | "failed";

/**
 * Ends a task that nobody takes up: its record first, then the copy in the dead letter queue. One whose last attempt crashed is taken over
 * before, so that a worker which was only frozen does not take the end for its own; a wish to cancel it is granted.
 *
 * @returns `moved-on` if somebody else changed the task meanwhile
 */
export async function buryUntaken(
  services: Services,
  record: TaskRecord,
  reason: ErrorCode,
  message: string,
): Promise<Buried> {
  const { ledger } = services.backend;
  let mine = record;
  // One that was taken over and then not ended is gone on with.
  if (record.state === "running" && !record.owner.startsWith(BURIER)) {
    const [taken] = await claimOrAsk(ledger, [takeoverOf(services, record)]);
    if (taken?.kind !== "written") return taken?.kind === "refused" ? "moved-on" : "failed";
    mine = taken.record;
    await noteCrash(services, mine);
  }
  const { cancelRequested } = mine;
  const text = shorten(cancelRequested ?? message, RECORD_MESSAGE_MAX_CHARS);
  const now = services.clock.now();
  const end: Partial<TaskRecord> =
    cancelRequested === undefined
      ? { state: "dead", reason, message: text, expiresAt: now + deadRetentionMs(mine) }
      : { state: "cancelled", reason: "CANCELLED", message: text, expiresAt: now + retentionOf(mine) };
  // A takeover counts as an attempt, and here it starts none.
  const attempts = mine.attempts - (mine.state === "running" ? 1 : 0);
  const write: SeenWrite = {
    id: record.id,
    seen: mine,
    patch: { set: { ...end, finishedAt: now, attempts }, remove: ["owedAt", "leaseUntil", "cancelRequested"] },
  };
  let [outcome] = await ledger.changeMany([write]);
  if (outcome?.kind === "failed") [outcome] = await ledger.changeMany([write]);
  if (outcome?.kind === "failed" || outcome === undefined) return "failed";
  if (outcome.kind === "refused") return "moved-on";
  if (outcome.record.state !== "dead") return "buried";
  services.emit({ type: "dead", reason, message, ...markOf(record) });
  return (await sendDeadLetter(services, outcome.record)) ? "buried" : "failed";
}

/** The owners of takeovers for the sake of an end alone. */
const BURIER = "burier.";

/** Moves the fence and the owner on, and leaves all times as they are: nothing starts by it, and its lease is over already. */
function takeoverOf(services: Services, record: TaskRecord): Claim {
  const now = services.clock.now();
  const { id, fence, messageId = "", startedAt = now, leaseUntil = now } = record;
  const owner = BURIER + services.random.token();
  return {
    id,
    owner,
    messageId,
    now: startedAt,
    leaseUntil,
    takeover: { fence, endedBefore: now - CLOCK_SKEW_MAX_MS },
  };
}

/**
 * Makes a dead record of a message that is no envelope of ours, so that whoever put it there finds it with its bytes.
 * The record's id comes from the message's, so that a message which comes twice dies once.
 */
export async function buryMessage(
  services: Services,
  delivery: Delivery,
  reason: ErrorCode,
  message: string,
): Promise<Buried> {
  const { clock, backend, random } = services;
  const now = clock.now();
  const json = JSON.stringify(delivery.message.body);
  const id = hashText(JSON.stringify([backend.topology.queue, "", "foreign", delivery.message.id])).slice(0, 32);
  const retentionMs = deadRetentionMs({ retentionMs: 0 });
  const placed = json.length <= 200 ? undefined : placePayload(json, "d30", now, true);
  const record: TaskRecord = {
    id,
    task: "unknown",
    lane: delivery.lane,
    state: "dead",
    epoch: 1,
    fence: now,
    owner: random.token(),
    createdAt: now,
    dueAt: now,
    notBefore: now,
    ...FRESH_COUNTS,
    retentionMs,
    input: placed?.ref ?? { at: "record", json },
    inputHash: hashText(json),
    reason,
    message: shorten(message, RECORD_MESSAGE_MAX_CHARS),
    finishedAt: now,
    expiresAt: now + retentionMs,
  };
  try {
    if (placed !== undefined) await storeInput(services, id, placed);
    const [outcome] = await backend.ledger.recordMany([record], now);
    if (outcome?.kind === "created") services.emit({ type: "dead", reason, message, ...markOf(record) });
    else if (outcome?.kind !== "exists") return "failed";
    return (await sendDeadLetter(services, outcome.kind === "exists" ? outcome.record : record)) ? "buried" : "failed";
  } catch {
    // The message stays where it is and comes again.
    return "failed";
  }
}
