import { sleep } from "../ports/clock.ts";
import { backoffDelay } from "../task/backoff.ts";
import type { AnyTask } from "../task/define-task.ts";
import type { ErrorCode } from "../task/errors.ts";
import { itemBytes } from "../task/item-size.ts";
import { utf8Bytes } from "../task/json.ts";
import { DLQ_RETENTION_MS, PAYLOAD_MARGIN_MS, RECORD_MAX_BYTES } from "../task/limits.ts";
import type { Failure, Outcome } from "../task/outcome.ts";
import { shorten } from "../task/outcome.ts";
import { lifeClassFor } from "../task/payload-ref.ts";
import { encodeRecord } from "../task/record-codec.ts";
import { applyPatch } from "../task/record.ts";
import type { OptionalField, RecordPatch, TaskRecord } from "../task/record.ts";
import type { TaskState } from "../task/states.ts";
import type { AttemptEntry } from "../task/task-ref.ts";
import { retentionOf } from "./expire.ts";
import { deadRetentionMs, RECORD_MESSAGE_MAX_CHARS } from "./dead-letter.ts";
import { noteAttempt } from "./history.ts";
import { placePayload, storeOutput } from "./payload.ts";
import type { Services } from "./services.ts";
import { isFar, owedAtOf } from "./wake.ts";

/** What an outcome means for the record and for the message. */
export interface Settlement {
  readonly state: TaskState;
  readonly patch: RecordPatch;
  /** What happens to the message once the record is written. */
  readonly next: "acknowledge" | "put-back" | "bury";
  /** What the history notes; absent for a success and for a claim given back. */
  readonly note: AttemptEntry["outcome"] | undefined;
  readonly failure: Failure | undefined;
  /** Time until the next start. */
  readonly delayMs: number | undefined;
}

/** Fields that only a running task has. */
const LEASE_FIELDS: readonly OptionalField[] = ["leaseUntil"];
/** Fields that only a task which is not final has. */
const LIVE_FIELDS: readonly OptionalField[] = ["leaseUntil", "owedAt", "cancelRequested"];

/**
 * Decides what an outcome does: a pure function of the record as claimed, the worker's definition, the time and chance.
 * Failures, crashes and deferrals are counted apart, so that waiting can never kill a task.
 */
export function decideSettlement(
  record: TaskRecord,
  outcome: Outcome,
  task: AnyTask,
  now: number,
  random: number,
): Settlement {
  switch (outcome.kind) {
    case "succeeded":
      return end(record, "succeeded", now, undefined, {});
    case "expired":
      return end(record, "expired", now, outcome.failure, { attempts: record.attempts - 1 });
    case "cancelled":
      return end(record, "cancelled", now, outcome.failure, { reason: "CANCELLED" });
    case "dead":
      return kill(record, reasonOf(outcome.failure), now, outcome.failure);
    case "retry": {
      const failures = record.failures + 1;
      if (record.cancelRequested !== undefined)
        return end(record, "cancelled", now, outcome.failure, { reason: "CANCELLED", failures });
      if (failures > task.maxRetries) return kill(record, "RETRIES_EXHAUSTED", now, outcome.failure, { failures });
      return again(record, task, now, outcome.delayMs ?? backoffDelay(task.backoff, failures, random), outcome, {
        failures,
      });
    }
    case "snooze":
      if (record.cancelRequested !== undefined)
        return end(record, "cancelled", now, outcome.failure, { reason: "CANCELLED" });
      return again(record, task, now, outcome.delayMs, outcome, { snoozes: record.snoozes + 1 });
    case "interrupted":
      return again(record, task, now, 0, outcome, { interruptions: record.interruptions + 1 });
    case "deferred":
      // The handler never started, so the claim is taken back and counts for nothing.
      return again(record, task, now, outcome.delayMs, outcome, { attempts: record.attempts - 1 });
  }
}

function end(
  record: TaskRecord,
  state: "succeeded" | "cancelled" | "expired",
  now: number,
  failure: Failure | undefined,
  set: Partial<TaskRecord>,
): Settlement {
  const message = failure === undefined ? {} : { message: shorten(failure.message, RECORD_MESSAGE_MAX_CHARS) };
  return {
    state,
    patch: {
      set: { ...set, ...message, state, finishedAt: now, expiresAt: now + retentionOf(record) },
      remove: LIVE_FIELDS,
    },
    next: "acknowledge",
    note: undefined,
    failure,
    delayMs: undefined,
  };
}

function kill(
  record: TaskRecord,
  reason: ErrorCode,
  now: number,
  failure: Failure,
  set: Partial<TaskRecord> = {},
): Settlement {
  return {
    state: "dead",
    patch: {
      set: {
        ...set,
        state: "dead",
        reason,
        message: shorten(failure.message, RECORD_MESSAGE_MAX_CHARS),
        finishedAt: now,
        expiresAt: now + deadRetentionMs(record),
      },
      remove: LIVE_FIELDS,
    },
    next: "bury",
    note: reason === "CRASHED" ? "crash" : "dead",
    failure,
    delayMs: undefined,
  };
}

function again(
  record: TaskRecord,
  task: AnyTask,
  now: number,
  delayMs: number,
  outcome: Extract<Outcome, { failure: Failure }>,
  set: Partial<TaskRecord>,
): Settlement {
  const notBefore = now + delayMs;
  if (notBefore > record.dueAt + task.maxLifetimeMs && outcome.kind !== "interrupted")
    return kill(record, "LIFETIME_EXCEEDED", now, outcome.failure, set);
  const far = isFar(notBefore, now);
  const owed = far ? { owedAt: owedAtOf(notBefore) } : {};
  return {
    state: "queued",
    patch: { set: { ...set, ...owed, state: "queued", notBefore }, remove: LEASE_FIELDS },
    next: far ? "acknowledge" : "put-back",
    note:
      outcome.kind === "retry" || outcome.kind === "snooze" || outcome.kind === "interrupted"
        ? outcome.kind
        : undefined,
    failure: outcome.failure,
    delayMs,
  };
}

function reasonOf(failure: Failure): ErrorCode {
  return failure.code === "ERROR" ? "TERMINAL" : failure.code;
}

/** What a settlement came to in the ledger. */
export type Settled =
  | { readonly kind: "written"; readonly record: TaskRecord }
  /** Another worker has the task: nothing of this attempt counts. */
  | { readonly kind: "lost"; readonly record: TaskRecord | undefined };

/** Waits between tries of a settlement that the ledger does not take, in milliseconds. */
const SETTLE_RETRY_MS = [100, 200, 400, 800, 1_600, 3_200, 5_000] as const;

/**
 * Writes a settlement: the commit point of an attempt. One conditional write under the attempt's fence; an answer that is
 * refused or lost is asked for again until the ledger tells for sure, however long that takes.
 *
 * @param onDelay called at each try that the ledger did not answer
 * @param giveUp aborts when the process must end: the task then runs again, as after a crash
 */
export async function writeSettlement(
  services: Services,
  record: TaskRecord,
  settlement: Settlement,
  output: string | undefined,
  onDelay: (error: unknown) => void,
  giveUp: AbortSignal,
): Promise<Settled> {
  const { fence, owner, id } = record;
  let patch = settlement.patch;
  for (let attempt = 0; ; attempt++) {
    const waitMs = SETTLE_RETRY_MS[Math.min(attempt, SETTLE_RETRY_MS.length - 1)] ?? 5_000;
    try {
      if (output !== undefined && patch.set.output === undefined)
        patch = await placeOutput(services, record, patch, output);
      const [outcome] = await services.backend.ledger.settleMany([{ id, fence, owner, patch: trim(record, patch) }]);
      if (outcome?.kind === "written") return outcome;
      if (outcome?.kind === "refused") return { kind: "lost", record: outcome.record };
      onDelay(outcome?.error);
    } catch (error) {
      onDelay(error);
    }
    if (giveUp.aborted) return { kind: "lost", record: undefined };
    await sleep(services.clock, waitMs * (0.5 + services.random.next()), giveUp);
  }
}

/** Puts the result into the record while it fits, else beside it. Its key holds the fence: a zombie's result is never read. */
async function placeOutput(
  services: Services,
  record: TaskRecord,
  patch: RecordPatch,
  json: string,
): Promise<RecordPatch> {
  const inRecord: RecordPatch = { ...patch, set: { ...patch.set, output: { at: "record", json } } };
  if (utf8Bytes(json) < RECORD_MAX_BYTES && sizeAfter(record, inRecord) <= RECORD_MAX_BYTES) return inRecord;
  const now = services.clock.now();
  const life = lifeClassFor(record.retentionMs + PAYLOAD_MARGIN_MS + DLQ_RETENTION_MS)?.prefix ?? "d400";
  const placed = placePayload(json, life, now, true);
  await storeOutput(services, record.id, placed, record.fence);
  return { ...patch, set: { ...patch.set, output: placed.ref } };
}

/** The sign that a text was cut, in UTF-8. */
const ELLIPSIS_BYTES = 3;

/** Shortens the reason in words until the record stays within one write unit; the whole of it is in the history. */
function trim(record: TaskRecord, patch: RecordPatch): RecordPatch {
  const message = patch.set.message;
  if (message === undefined) return patch;
  const over = sizeAfter(record, patch) - RECORD_MAX_BYTES;
  if (over <= 0) return patch;
  const kept = Math.max(0, message.length - over - ELLIPSIS_BYTES);
  return { ...patch, set: { ...patch.set, message: kept === 0 ? "" : shorten(message, kept) } };
}

function sizeAfter(record: TaskRecord, patch: RecordPatch): number {
  return itemBytes(encodeRecord(applyPatch(record, patch)));
}

/** Notes the attempt in the history, before the record is written, so that the dead letter can carry it. */
export async function noteOutcome(
  services: Services,
  record: TaskRecord,
  settlement: Settlement,
  runMs: number,
  worker: string,
): Promise<void> {
  const { note, failure } = settlement;
  if (note === undefined || failure === undefined) return;
  // Snoozes are no failures: a counter tells how many, and they must not push failures out of the history.
  if (note === "snooze") return;
  await noteAttempt(services, record, {
    attempt: record.attempts,
    at: services.clock.now(),
    outcome: note,
    code: failure.code,
    message: failure.message,
    stack: failure.stack,
    runMs,
    worker,
  });
}
