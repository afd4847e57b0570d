import type { ErrorCode } from "./errors.ts";
import type { Lane } from "./lane.ts";
import type { PayloadRef } from "./payload-ref.ts";
import type { TaskState } from "./states.ts";

/** The hot record of a task: at most one DynamoDB write unit. Times are milliseconds since 1970. */
export interface TaskRecord {
  id: string;
  task: string;
  lane: Lane;
  state: TaskState;
  /** From 1; each redrive starts another. */
  epoch: number;
  /** Starts at the creation time and grows with each claim, so that it never restarts. */
  fence: number;
  /** Token of the write that last took ownership: the enqueue's, then each claim's. */
  owner: string;
  /** The SQS message that the last claim came from. */
  messageId?: string | undefined;
  createdAt: number;
  /** When the task was first due in this epoch. */
  dueAt: number;
  /** The earliest next start. */
  notBefore: number;
  /** The task expires if it has not started by then. */
  startBy?: number | undefined;
  /** Claims that started a handler. */
  attempts: number;
  failures: number;
  crashes: number;
  snoozes: number;
  interruptions: number;
  /** When the last claim was made. */
  startedAt?: number | undefined;
  leaseUntil?: number | undefined;
  /** Why somebody asked to cancel it while it ran. */
  cancelRequested?: string | undefined;
  /** When the scheduler has to look at it. */
  owedAt?: number | undefined;
  /** Times it was sent again since the last claim. */
  resends: number;
  /** The last rate limit slot that a claim used, in microseconds since 1970. */
  slotUs?: number | undefined;
  retentionMs: number;
  input: PayloadRef;
  /** Hash of the first input: the same key with another one is a conflict. */
  inputHash: string;
  output?: PayloadRef | undefined;
  /** JSON of the creation context, while it is small; else it lies in a side item. */
  meta?: string | undefined;
  metaAside?: boolean | undefined;
  traceparent?: string | undefined;
  reason?: ErrorCode | undefined;
  /** The reason in words, shortened. */
  message?: string | undefined;
  /** JSON, shortened. */
  progress?: string | undefined;
  finishedAt?: number | undefined;
  /** The record counts as absent from then on, though the store may still hold it. */
  expiresAt?: number | undefined;
}

/** The counters of a task that has done nothing yet. */
export const FRESH_COUNTS = {
  attempts: 0,
  failures: 0,
  crashes: 0,
  snoozes: 0,
  interruptions: 0,
  resends: 0,
} as const;

/** What a write changes in a record: fields to set, and fields to take away. */
export interface RecordPatch {
  readonly set: Readonly<Partial<TaskRecord>>;
  readonly remove?: readonly OptionalField[] | undefined;
}

/** The fields that a record may lack. */
export type OptionalField = {
  [Field in keyof TaskRecord]-?: undefined extends TaskRecord[Field] ? Field : never;
}[keyof TaskRecord];

/** Tells whether a record's time is over, though the store has not removed it yet. */
export function isGone(record: TaskRecord, now: number): boolean {
  return record.expiresAt !== undefined && record.expiresAt <= now;
}

/** A record with a patch applied. As in the store, a field that is both set and removed is set, and `undefined` sets nothing. */
export function applyPatch(record: TaskRecord, patch: RecordPatch): TaskRecord {
  const next: TaskRecord = { ...record };
  for (const field of patch.remove ?? []) delete next[field];
  const given = Object.entries(patch.set).filter(([, value]) => value !== undefined);
  return Object.assign(next, Object.fromEntries(given));
}
