import type { TaskRecord } from "../../lib/task/record.ts";

let made = 0;

/** A record as enqueue writes it, with what matters to a test put in its place. */
export function aRecord(fields: Partial<TaskRecord> = {}): TaskRecord {
  const now = Date.now();
  return {
    id: `sample-${now.toString(36)}-${++made}`,
    task: "send-receipt",
    lane: "normal",
    state: "queued",
    epoch: 1,
    fence: now,
    owner: `enqueue-${made}`,
    createdAt: now,
    dueAt: now,
    notBefore: now,
    attempts: 0,
    failures: 0,
    crashes: 0,
    snoozes: 0,
    interruptions: 0,
    resends: 0,
    retentionMs: 86_400_000,
    input: { at: "record", json: "{}" },
    inputHash: "hash",
    ...fields,
  };
}
