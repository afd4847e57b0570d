import type { ConnectOptions } from "../../connect.ts";
import { clockOf } from "../../connect.ts";
import { TasklaneError } from "../../task/errors.ts";
import { jsonLogger } from "../../worker-log.ts";
import type { LambdaBatchReport, LambdaSqsRecord } from "../lambda-event.ts";

/** One attribute of a message, as Lambda hands it on: bytes come in base64. */
export interface SqsAttribute {
  stringValue?: string | undefined;
  binaryValue?: string | undefined;
  dataType: string;
}

/** One message of an SQS event, with the parts that the middlewares read. */
export interface SqsRecord extends LambdaSqsRecord {
  readonly attributes: LambdaSqsRecord["attributes"] & { readonly MessageGroupId?: string | undefined };
  readonly messageAttributes: { readonly [name: string]: SqsAttribute };
}

/** The event that an SQS event source hands to a function. */
export interface SqsEvent {
  Records: SqsRecord[];
}

/** Told of each message that is reported as failed, with the reason. Default: one JSON line on standard output. */
export type FailureListener = (record: SqsRecord, reason: unknown) => void;

/** What the middlewares have in common. */
export interface MiddlewareOptions extends Pick<ConnectOptions, "sdk" | "clock" | "random"> {
  readonly onFailure?: FailureListener | undefined;
}

/** The names of the options that the middlewares have in common. */
export const COMMON_OPTIONS: readonly string[] = ["sdk", "clock", "random", "onFailure"];

/** What became of a record that the handler was given. */
export type RecordOutcome =
  | { readonly ok: true; readonly result: unknown }
  | { readonly ok: false; readonly reason: unknown };

/**
 * One invocation, as all middlewares of its chain see it. Each of them only removes records and adds ids to `failed`; the
 * report is made from the ids of `records` and from nothing else.
 */
export interface SqsBatch {
  /** As the event came. */
  readonly records: readonly SqsRecord[];
  /** The records that are left for the handler. */
  given: readonly SqsRecord[];
  readonly failed: Set<string>;
  /** Records that were put back as copies, and are acknowledged already. */
  readonly gone: Set<string>;
  /** What became of the given records, once that is known. */
  outcomes: ReadonlyMap<string, RecordOutcome> | undefined;
  /** Look again whether what is given may still start: each middleware further in takes time. */
  readonly checks: (() => void)[];
}

/** Starts the books of an invocation. */
export function openBatch(records: readonly SqsRecord[]): SqsBatch {
  return {
    // The event's own list is in the handler's hands.
    records: [...records],
    given: [...records],
    failed: new Set(),
    gone: new Set(),
    outcomes: undefined,
    checks: [],
  };
}

/** Takes records away from the handler. What is not failed as well counts as succeeded. */
export function removeRecords(batch: SqsBatch, ids: ReadonlySet<string>): void {
  batch.given = batch.given.filter(({ messageId }) => !ids.has(messageId));
}

/** Takes a record away from the handler, and reports it as failed. */
export function failRecord(batch: SqsBatch, record: SqsRecord, reason: unknown, tell: FailureListener): void {
  batch.failed.add(record.messageId);
  removeRecords(batch, new Set([record.messageId]));
  tell(record, reason);
}

/** Whether a record comes from a queue that keeps the order within its groups. */
export function isFifo({ eventSourceARN }: SqsRecord): boolean {
  return eventSourceARN.endsWith(".fifo");
}

/** Takes away what comes after a failed record of its group, on a FIFO queue: it has to come again in its order. */
export function holdFollowers(batch: SqsBatch): void {
  const blocked = followersOf(batch.records, batch.failed);
  for (const id of blocked) batch.failed.add(id);
  removeRecords(batch, blocked);
}

/** The report to Lambda: a subset of the event's own ids, each once, in the order of the event. */
export function reportOf(batch: SqsBatch): LambdaBatchReport {
  const failed = new Set(batch.failed);
  for (const [id, outcome] of batch.outcomes ?? []) if (!outcome.ok) failed.add(id);
  for (const id of followersOf(batch.records, failed)) failed.add(id);
  const ids = new Set(batch.records.map(({ messageId }) => messageId).filter((id) => failed.has(id)));
  return { batchItemFailures: [...ids].map((itemIdentifier) => ({ itemIdentifier })) };
}

function followersOf(records: readonly SqsRecord[], failed: ReadonlySet<string>): Set<string> {
  const stopped = new Set<string>();
  const followers = new Set<string>();
  for (const record of records) {
    if (!isFifo(record)) continue;
    const group = record.attributes.MessageGroupId ?? "";
    if (stopped.has(group)) followers.add(record.messageId);
    else if (failed.has(record.messageId)) stopped.add(group);
  }
  return followers;
}

/** The listener of failures: the caller's own, or a log line; neither may fail the work that it tells of. */
export function failureListener(name: string, options: MiddlewareOptions): FailureListener {
  const log = jsonLogger(clockOf(options));
  return (record, reason) => {
    try {
      if (options.onFailure !== undefined) return options.onFailure(record, reason);
      log("error", "record failed", {
        middleware: name,
        messageId: record.messageId,
        code: TasklaneError.is(reason) ? reason.code : null,
        error: reason instanceof Error ? (reason.stack ?? reason.message) : String(reason),
      });
    } catch {
      // The listener's own affair.
    }
  };
}
