import type { RecordOutcome } from "../ports/ledger.ts";
import { EnqueueUnknownError, TasklaneError } from "../task/errors.ts";
import type { TaskRecord } from "../task/record.ts";
import { mapBounded } from "./bounded.ts";
import { storeInput } from "./payload.ts";
import type { PreparedTask } from "./prepare.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import { isFar, owedAtOf, sendWakeUps, wakeUp } from "./wake.ts";

/** What became of one task. */
export type EnqueueOutcome =
  | { readonly ok: true; readonly record: TaskRecord; readonly duplicate: boolean }
  | { readonly ok: false; readonly error: TasklaneError };

const STORES_AT_ONCE = 8;
/** How long a task may wait before a duplicate call sends its message once more, in milliseconds. */
const RESEND_AFTER_MS = 2_000;

/**
 * Takes prepared tasks in: stores what must be stored, writes the records, sends the messages.
 *
 * Once its record is written a task is accepted. If its message cannot be sent then, the record is marked as owed and the
 * scheduler sends it within a minute; if even that mark fails, the scheduler's pass over the creation index finds it.
 *
 * ```
 * store payload ── put record (if absent: the dedupe) ── send message
 *        │ crash: an orphan,       │ crash: found by the creation
 *        │ deleted by lifecycle    │ index after ten minutes
 * ```
 */
export async function enqueuePrepared(services: Services, tasks: readonly PreparedTask[]): Promise<EnqueueOutcome[]> {
  const now = services.clock.now();
  const stored = await mapBounded(tasks, STORES_AT_ONCE, (task) => storeAside(services, task));
  const ready = tasks.flatMap((task, place) =>
    stored[place] === undefined ? [{ task, place, record: markFar(task.record, now) }] : [],
  );
  const written = await services.backend.ledger.recordMany(
    ready.map((entry) => entry.record),
    now,
  );
  const outcomes: EnqueueOutcome[] = stored.map((error) => ({ ok: false, error: error ?? unreachable() }));
  const toSend: { task: PreparedTask; record: TaskRecord }[] = [];
  for (const [at, { task, place, record }] of ready.entries()) {
    const outcome = judge(record, written[at] as RecordOutcome);
    outcomes[place] = outcome;
    if (!outcome.ok) continue;
    services.emit({ type: "enqueued", duplicate: outcome.duplicate, ...markOf(outcome.record) });
    if (record.owedAt === undefined && (!outcome.duplicate || mayLackMessage(outcome.record, now)))
      toSend.push({ task, record: outcome.record });
  }
  await sendOrOwe(services, toSend);
  return outcomes;
}

/** Stores what lies beside the record. Answers the error, if any: then nothing was accepted. */
async function storeAside(services: Services, task: PreparedTask): Promise<TasklaneError | undefined> {
  const { id, createdAt } = task.record;
  try {
    if (task.placed !== undefined) await storeInput(services, id, task.placed);
    if (task.metaAside !== undefined)
      await services.backend.ledger.putSide({
        id,
        key: metaKey(createdAt),
        value: task.metaAside,
        expiresAt: task.keptUntil,
      });
    return undefined;
  } catch (error) {
    if (TasklaneError.is(error)) return error;
    throw error;
  }
}

/** Key of the side item with a task's meta: one for each life of an id, so that a refused call overwrites nothing. */
export function metaKey(createdAt: number): string {
  return `m#${createdAt}`;
}

function markFar(record: TaskRecord, now: number): TaskRecord {
  return isFar(record.notBefore, now) ? { ...record, owedAt: owedAtOf(record.notBefore) } : record;
}

function judge(record: TaskRecord, outcome: RecordOutcome): EnqueueOutcome {
  if (outcome.kind === "created") return { ok: true, record, duplicate: false };
  if (outcome.kind === "failed") return { ok: false, error: outcome.error };
  if (outcome.kind === "unknown")
    return {
      ok: false,
      error: new EnqueueUnknownError(
        {
          what: `The ledger did not answer: task "${record.task}" may or may not have been accepted`,
          received: outcome.error.message,
          fix: `call again with the same input and { id: "${record.id}" }, or with the same idempotency key`,
          cause: outcome.error,
        },
        record.id,
      ),
    };
  const there = outcome.record;
  // Our own put, whose first answer was lost on the way.
  if (there.owner === record.owner && there.fence === record.fence)
    return { ok: true, record: there, duplicate: false };
  if (there.inputHash === record.inputHash && there.task === record.task)
    return { ok: true, record: there, duplicate: true };
  return {
    ok: false,
    error: new TasklaneError("IDEMPOTENCY_CONFLICT", {
      what: `Task "${record.task}" was enqueued before with the same idempotency key and another input`,
      received: `task ${there.id}, ${there.state}, created ${new Date(there.createdAt).toISOString()}`,
      fix: "put what makes the work different into the key, or wait until the retention of the first one is over",
    }),
  };
}

async function sendOrOwe(
  services: Services,
  entries: readonly { task: PreparedTask; record: TaskRecord }[],
): Promise<void> {
  if (entries.length === 0) return;
  const answers = await sendWakeUps(
    services,
    entries.map(({ task, record }) => wakeUp(services, record, task.json, {}, task.compress)),
  );
  const unsent: TaskRecord[] = [];
  for (const [at, answer] of answers.entries()) {
    const record = entries[at]?.record;
    if (answer.ok || record === undefined) continue;
    unsent.push(record);
    services.emit({ type: "send-owed", error: answer.error.message, ...markOf(record) });
  }
  if (unsent.length > 0) await markOwed(services, unsent);
}

/**
 * A task that should have started by now, and whose caller comes again: whoever wrote its record may have died before the
 * message was sent. Another message does no harm, and spares the wait for the scheduler's pass.
 */
function mayLackMessage(record: TaskRecord, now: number): boolean {
  const waiting = record.state === "queued" && record.attempts === 0 && record.owedAt === undefined;
  return waiting && now - Math.max(record.createdAt, record.notBefore) > RESEND_AFTER_MS;
}

/** Asks the scheduler to send these tasks' messages as soon as they are due. */
async function markOwed(services: Services, records: readonly TaskRecord[]): Promise<void> {
  await services.backend.ledger.changeMany(
    records.map((record) => ({
      id: record.id,
      seen: record,
      patch: { set: { owedAt: record.notBefore } },
    })),
  );
}

function unreachable(): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", { what: "The task was not handled" });
}
