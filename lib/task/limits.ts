/*
 * Every default and every limit, in one place. The tables in docs/limits.md are made from it, by limit-tables.ts.
 */

/** SQS's longest delay of one message: 900 s. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
export const SQS_DELAY_MAX_MS = 900_000;
/** SQS's largest message, and largest sum of a batch: 1 MiB. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
export const SQS_MESSAGE_MAX_BYTES = 1_048_576;
/** SQS's largest batch. */
export const SQS_BATCH_MAX_ENTRIES = 10;
/** SQS bills each started 64 KiB as a request. https://aws.amazon.com/sqs/pricing/ */
export const SQS_CHUNK_BYTES = 65_536;
/** SQS's longest wait for a message. */
export const SQS_WAIT_MAX_MS = 20_000;
/** SQS's longest time out of sight, counted from the first receive. */
export const SQS_VISIBILITY_MAX_MS = 43_200_000;
/** How long a lane's queue keeps a message. */
export const QUEUE_RETENTION_MS: number = 4 * 86_400_000;
/** How long a dead letter queue keeps a copy: SQS's longest. A copy keeps the time at which it was first sent. */
export const DLQ_RETENTION_MS: number = 14 * 86_400_000;
/** A message received this often without being deleted goes to the dead letter queue; a guard against pills that die before the claim. */
export const RECEIVE_LIMIT = 20;

/** The hot record stays in one DynamoDB write unit. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/on-demand-capacity-mode.html */
export const RECORD_MAX_BYTES = 1_024;
/** What the input may add to the record, so that the record with a lease and a result still fits one write unit. */
export const RECORD_INPUT_MAX_BYTES = 256;
/** Meta and creation context up to this many bytes ride in the record; more goes to a side item. */
export const RECORD_META_MAX_BYTES = 160;
/** A payload or a result up to this size lies in a side item of the ledger; above, in S3. */
export const SIDE_ITEM_MAX_BYTES = 8_192;
/** The largest payload, and the largest result. */
export const PAYLOAD_MAX_BYTES: number = 10 * 1_048_576;
/** The envelope carries a copy of the payload while the whole message stays within one SQS chunk: the copy is then free and saves a read. */
export const ENVELOPE_COPY_MAX_BYTES = 65_536;
/** Below this size compression is not worth its time. */
export const COMPRESS_MIN_BYTES = 4_096;
/** Nesting allowed in an input. */
export const JSON_MAX_DEPTH = 64;
/** The largest `meta`, as JSON. */
export const META_MAX_BYTES = 2_048;
/** How much of an error's message is kept. */
export const ERROR_MESSAGE_MAX_CHARS = 1_000;
/** How much of an error's stack is kept. */
export const ERROR_STACK_MAX_CHARS = 4_000;
/** How many attempts the history keeps. */
export const HISTORY_MAX_ATTEMPTS = 10;
/** A dead letter copy carries payload, stack and history up to this size, else references to them. */
export const DLQ_COPY_MAX_BYTES = 65_536;
/** A task that no worker knows is deferred for this long, since a deploy may be rolling, and then dies. */
export const UNKNOWN_TASK_MAX_MS = 86_400_000;
/** Re-sends without a claim after which a task is dead as unclaimable. */
export const RESENDS_MAX = 5;
/** How far clocks may differ before a lease counts as over; beyond it duplicates rise, but commits stay exact. */
export const CLOCK_SKEW_MAX_MS = 5_000;
/** A message that comes this early is waited for; an earlier one is put back. */
export const EARLY_WAIT_MAX_MS = 2_000;
/** How far ahead a rate limit hands out slots. */
export const RATE_LIMIT_HORIZON_MS = 60_000;
/** One DynamoDB item takes about this many writes a second; a faster rate limit is split over several. */
export const RATE_LIMIT_SHARD_WRITES_PER_SECOND = 1_000;
/** Days that a stored payload outlives its task's last use, at least: source queue 4, dead letter queue 14, lifecycle lag 1. */
export const PAYLOAD_MARGIN_MS: number = 19 * 86_400_000;
/** The longest renewal of a lease. */
export const RENEWAL_MAX_MS = 300_000;
/** How long the counters of a minute are kept. */
export const COUNTER_RETENTION_MS: number = 15 * 86_400_000;
/** Counters in one write: DynamoDB takes an expression of 4 KB and 300 operations. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html */
export const COUNTERS_PER_WRITE_MAX = 288;
/** How many shards the creation index has. */
export const CREATION_SHARDS = 16;
/** How many shards the indexes of owed and dead tasks have. */
export const SPARSE_SHARDS = 4;

/** The defaults of a task definition. */
export const DEFAULT_LANE = "normal";
/** Attempts after the first. */
export const DEFAULT_MAX_RETRIES = 5;
/** Starts that took the process down, after which a task is dead. */
export const DEFAULT_MAX_CRASHES = 3;
/** Bounds retries, snoozes and deferrals together. */
export const DEFAULT_MAX_LIFETIME = "14d";
/** Aborts an attempt. */
export const DEFAULT_TIMEOUT = "30s";
/** How long the record is kept after the final state. */
export const DEFAULT_RETENTION = "14d";
/** The waits between attempts. */
export const DEFAULT_BACKOFF = { initial: "1s", factor: 4, max: "15m", jitter: "full" } as const;
/** The defaults of a worker process. */
export const DEFAULT_CONCURRENCY = 20;
/** How long the right to run a task lasts without renewal. */
export const DEFAULT_LEASE = "30s";
/** How long running handlers may go on after a stop signal. */
export const DEFAULT_SHUTDOWN_GRACE = "25s";
/** How long a handler may go on after its signal was aborted. */
export const ABORT_GRACE_MS = 5_000;
/** Tasks in a lane at which enqueue is refused. */
export const DEFAULT_MAX_BACKLOG = 1_000_000;
/** The share of the backlog's limit from which a warning is raised. */
export const BACKLOG_WARNING_RATIO = 0.8;
/** How long a lane's depth is trusted while it is below half of the limit. */
export const DEPTH_CALM_MS = 60_000;
/** How long a lane's depth is trusted above half of the limit. */
export const DEPTH_BUSY_MS = 3_000;
