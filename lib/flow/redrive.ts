import { TasklaneError } from "../task/errors.ts";
import { utf8Bytes } from "../task/json.ts";
import { LIFE_CLASSES, lifeClassFor } from "../task/payload-ref.ts";
import type { PayloadRef } from "../task/payload-ref.ts";
import { PAYLOAD_MARGIN_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { loadInput, placePayload, storeInput } from "./payload.ts";
import { roomForInput } from "./prepare.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import { OWED_LEAD_MS, sendWakeUps, wakeUp } from "./wake.ts";

/** How long the next epoch may take, in milliseconds: the record does not say, so the default of `maxLifetime`. */
const LIFETIME_MS = 14 * 86_400_000;

/** What a redrive came to. */
export type Redriven =
  | { readonly kind: "redriven"; readonly record: TaskRecord }
  | { readonly kind: "refused"; readonly record: TaskRecord | undefined }
  | { readonly kind: "failed"; readonly error: TasklaneError };

/**
 * Gives a dead task its next epoch: one conditional write, so that of two redrives at once one wins. The write says that the
 * scheduler owes the message, then the message is sent; a crash in between loses nothing.
 *
 * @param options.epoch redrive only if the task is still dead in this epoch, as its dead letter says
 * @param options.json canonical JSON of another input
 */
export async function redriveTask(
  services: Services,
  id: string,
  options: { epoch?: number | undefined; json?: string | undefined } = {},
): Promise<Redriven> {
  try {
    const now = services.clock.now();
    const [record] = await services.backend.ledger.readMany([id]);
    if (record === undefined || isGone(record, now)) return { kind: "refused", record: undefined };
    // A foreign message has no handler: whoever put it there has to enqueue what was meant.
    const foreign = record.reason === "UNDECODABLE" || record.reason === "WRONG_QUEUE";
    if (record.state !== "dead" || foreign || (options.epoch !== undefined && options.epoch !== record.epoch))
      return { kind: "refused", record };
    const input = await refreshInput(services, record, options.json, now);
    const [outcome] = await services.backend.ledger.changeMany([
      {
        id,
        seen: record,
        patch: {
          set: {
            state: "queued",
            epoch: record.epoch + 1,
            input,
            dueAt: now,
            notBefore: now,
            owedAt: now,
            failures: 0,
            crashes: 0,
            snoozes: 0,
            interruptions: 0,
            resends: 0,
          },
          remove: ["reason", "message", "finishedAt", "expiresAt", "startBy", "cancelRequested", "output", "progress"],
        },
      },
    ]);
    if (outcome?.kind === "refused") return { kind: "refused", record: outcome.record };
    if (outcome?.kind !== "written") return { kind: "failed", error: outcome?.error ?? noAnswer(id) };
    services.emit({ type: "redriven", epoch: outcome.record.epoch, ...markOf(outcome.record) });
    await sendOwed(services, outcome.record, options.json);
    return { kind: "redriven", record: outcome.record };
  } catch (error) {
    if (TasklaneError.is(error)) return { kind: "failed", error };
    throw error;
  }
}

function noAnswer(id: string): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `The ledger did not answer for task ${id}`,
    fix: "try again",
  });
}

/** Sends the message that the record says is owed, and moves the owing on; whatever fails here the scheduler makes good. */
async function sendOwed(services: Services, record: TaskRecord, json: string | undefined): Promise<void> {
  const copy = json ?? (record.input.at === "record" ? record.input.json : undefined);
  const [sent] = await sendWakeUps(services, [wakeUp(services, record, copy)]);
  if (sent?.ok !== true) return;
  const owedAt = record.notBefore + 3 * OWED_LEAD_MS;
  await services.backend.ledger.changeMany([{ id: record.id, seen: record, patch: { set: { owedAt } } }]);
}

/** Stores another input, or the same one afresh if the life class of its object could end before the task does. */
async function refreshInput(
  services: Services,
  record: TaskRecord,
  json: string | undefined,
  now: number,
): Promise<PayloadRef> {
  const neededUntil = now + LIFETIME_MS + record.retentionMs + PAYLOAD_MARGIN_MS;
  if (json === undefined) {
    const { input } = record;
    if (input.at === "record" || input.storedAt + daysOf(input.life) * 86_400_000 > neededUntil) return input;
  }
  const text = json ?? (await loadInput(services, record.id, record.input));
  if (utf8Bytes(text) <= roomForInput(record)) return { at: "record", json: text };
  const life = lifeClassFor(neededUntil - now)?.prefix ?? "d400";
  const placed = placePayload(text, life, now, true);
  await storeInput(services, record.id, placed);
  return placed.ref;
}

function daysOf(life: string): number {
  return LIFE_CLASSES.find((known) => known.prefix === life)?.days ?? 0;
}
