import { QUEUE_RETENTION_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Services } from "./services.ts";

const DAY_MS = 86_400_000;

/** How long a record is kept that ended otherwise than dead: longer than any message that speaks of it, in milliseconds. */
export function retentionOf(record: Pick<TaskRecord, "retentionMs">): number {
  return Math.max(record.retentionMs, QUEUE_RETENTION_MS + DAY_MS);
}

/**
 * Ends the tasks that were not started in time, and answers the others. One that was claimed meanwhile is left to its
 * worker, which looks at the time itself.
 */
export async function expireLate(
  services: Services,
  records: readonly (TaskRecord | undefined)[],
): Promise<TaskRecord[]> {
  const now = services.clock.now();
  const known = records.filter((record) => record !== undefined);
  const late = known.filter((record) => isLate(record, now));
  if (late.length === 0) return known;
  const message = "it was not started in time";
  const outcomes = await services.backend.ledger.changeMany(
    late.map((record) => ({
      id: record.id,
      seen: record,
      patch: {
        set: { state: "expired", message, finishedAt: now, expiresAt: now + retentionOf(record) },
        remove: ["owedAt", "cancelRequested"],
      },
    })),
  );
  // What could not be written is looked at as before, and again by the next pass.
  const ended = late.filter((_, place) => outcomes[place]?.kind !== "failed");
  return known.filter((record) => !ended.includes(record));
}

function isLate({ state, startBy, attempts }: TaskRecord, now: number): boolean {
  return state === "queued" && attempts === 0 && startBy !== undefined && startBy <= now;
}
