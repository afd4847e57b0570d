import { formatDuration } from "./duration.ts";
import {
  CLOCK_SKEW_MAX_MS,
  DEFAULT_BACKOFF,
  DEFAULT_CONCURRENCY,
  DEFAULT_LANE,
  DEFAULT_LEASE,
  DEFAULT_MAX_BACKLOG,
  DEFAULT_MAX_CRASHES,
  DEFAULT_MAX_LIFETIME,
  DEFAULT_MAX_RETRIES,
  DEFAULT_RETENTION,
  DEFAULT_SHUTDOWN_GRACE,
  DEFAULT_TIMEOUT,
  DLQ_COPY_MAX_BYTES,
  ENVELOPE_COPY_MAX_BYTES,
  ERROR_MESSAGE_MAX_CHARS,
  ERROR_STACK_MAX_CHARS,
  HISTORY_MAX_ATTEMPTS,
  JSON_MAX_DEPTH,
  META_MAX_BYTES,
  PAYLOAD_MAX_BYTES,
  RATE_LIMIT_HORIZON_MS,
  RECEIVE_LIMIT,
  RECORD_INPUT_MAX_BYTES,
  RESENDS_MAX,
  SIDE_ITEM_MAX_BYTES,
  UNKNOWN_TASK_MAX_MS,
} from "./limits.ts";

/*
 * Apart from the limits themselves, so that a bundle of definitions does not carry them.
 */

/** One row of a table in the docs. */
export interface LimitRow {
  readonly setting: string;
  readonly value: string;
  readonly why: string;
}

/** The table of defaults in the docs. */
export const DEFAULTS_TABLE: readonly LimitRow[] = [
  { setting: "lane", value: DEFAULT_LANE, why: "urgent work asks for more" },
  { setting: "maxRetries", value: String(DEFAULT_MAX_RETRIES), why: "about six minutes of trying" },
  { setting: "backoff.initial", value: DEFAULT_BACKOFF.initial, why: "most failures pass at once" },
  { setting: "backoff.factor", value: String(DEFAULT_BACKOFF.factor), why: "1, 4, 16, 64, 256 s" },
  { setting: "backoff.max", value: DEFAULT_BACKOFF.max, why: "the longest delay of an SQS message" },
  { setting: "backoff.jitter", value: DEFAULT_BACKOFF.jitter, why: "a crowd of failures spreads out" },
  { setting: "maxCrashes", value: String(DEFAULT_MAX_CRASHES), why: "a pill stops after three processes" },
  { setting: "maxLifetime", value: DEFAULT_MAX_LIFETIME, why: "retries, snoozes and deferrals end some day" },
  { setting: "timeout", value: DEFAULT_TIMEOUT, why: "below the 60 s of a worker function" },
  { setting: "retention", value: DEFAULT_RETENTION, why: "also the window in which a key stays taken" },
  { setting: "concurrency", value: String(DEFAULT_CONCURRENCY), why: "for handlers that mostly wait" },
  { setting: "lease", value: DEFAULT_LEASE, why: "how long a crash goes unnoticed" },
  { setting: "shutdownGrace", value: DEFAULT_SHUTDOWN_GRACE, why: "below the 30 s that container hosts give" },
  { setting: "maxBacklog", value: count(DEFAULT_MAX_BACKLOG), why: "approximate; a warning comes at 80 %" },
];

/** The table of limits in the docs. */
export const LIMITS_TABLE: readonly LimitRow[] = [
  { setting: "payload", value: size(PAYLOAD_MAX_BYTES), why: "more belongs in a bucket of your own: pass its key" },
  { setting: "result", value: size(PAYLOAD_MAX_BYTES), why: "as the payload" },
  {
    setting: "payload in the record",
    value: size(RECORD_INPUT_MAX_BYTES),
    why: "the record stays in one DynamoDB write unit",
  },
  { setting: "payload in a side item", value: size(SIDE_ITEM_MAX_BYTES), why: "above, S3 is cheaper" },
  {
    setting: "message with a copy of the payload",
    value: size(ENVELOPE_COPY_MAX_BYTES),
    why: "SQS bills each 64 KiB as a request",
  },
  { setting: "JSON depth", value: `${JSON_MAX_DEPTH} levels`, why: "hostile input is refused before it is parsed" },
  { setting: "meta", value: size(META_MAX_BYTES), why: "context, not data" },
  { setting: "entries of enqueueMany", value: "any number", why: "split by count and bytes for SQS" },
  { setting: "attempts in the history", value: String(HISTORY_MAX_ATTEMPTS), why: "the last ones" },
  { setting: "error message kept", value: `${count(ERROR_MESSAGE_MAX_CHARS)} characters`, why: "for each attempt" },
  { setting: "error stack kept", value: `${count(ERROR_STACK_MAX_CHARS)} characters`, why: "for each attempt" },
  { setting: "dead letter copy", value: size(DLQ_COPY_MAX_BYTES), why: "larger parts are named, not copied" },
  {
    setting: "clock skew",
    value: formatDuration(CLOCK_SKEW_MAX_MS),
    why: "beyond it duplicates rise, commits stay exact",
  },
  { setting: "receive limit", value: String(RECEIVE_LIMIT), why: "a guard against pills that die before the claim" },
  { setting: "re-sends without a claim", value: String(RESENDS_MAX), why: "then the task is dead as UNCLAIMABLE" },
  { setting: "unknown task", value: formatDuration(UNKNOWN_TASK_MAX_MS), why: "then the task is dead as UNKNOWN_TASK" },
  {
    setting: "rate limit horizon",
    value: formatDuration(RATE_LIMIT_HORIZON_MS),
    why: "slots are handed out this far ahead",
  },
];

function size(bytes: number): string {
  if (bytes % 1_048_576 === 0) return `${bytes / 1_048_576} MiB`;
  return bytes % 1_024 === 0 ? `${bytes / 1_024} KiB` : `${bytes} B`;
}

function count(value: number): string {
  return value.toLocaleString("en-GB");
}
