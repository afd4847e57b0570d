/** A message of an SQS event, with the parts that a worker reads. Anything else that Lambda adds is left alone. */
export interface LambdaSqsRecord {
  readonly messageId: string;
  readonly receiptHandle: string;
  readonly body: string;
  readonly attributes: { readonly ApproximateReceiveCount: string; readonly SentTimestamp: string };
  readonly eventSourceARN: string;
}

/** What an SQS event source hands to a function. */
export interface LambdaSqsEvent {
  readonly Records: readonly LambdaSqsRecord[];
}

/** The part of Lambda's context that a worker and the scheduler read. */
export interface LambdaContext {
  readonly awsRequestId?: string | undefined;
  /** Milliseconds until Lambda ends the invocation. */
  getRemainingTimeInMillis(): number;
}

/** The messages that are to come again; Lambda deletes all others of the event. */
export interface LambdaBatchReport {
  batchItemFailures: { itemIdentifier: string }[];
}

/** The ids of an event's messages, each once, in their order. */
export function idsOf(event: LambdaSqsEvent): readonly string[] {
  const records: unknown = event?.Records;
  if (!Array.isArray(records)) return [];
  const ids = records.map((record: unknown): unknown =>
    typeof record === "object" && record !== null ? Reflect.get(record, "messageId") : undefined,
  );
  return [...new Set(ids.filter((id): id is string => typeof id === "string" && id !== ""))];
}

/**
 * Builds the report from the event's own ids alone: whatever was not acknowledged is to come again. Lambda takes an unknown id for a
 * failure of the whole batch, and an empty report for a success of all of it.
 */
export function reportOf(ids: readonly string[], acknowledged: ReadonlySet<string>): LambdaBatchReport {
  return { batchItemFailures: ids.filter((id) => !acknowledged.has(id)).map((id) => ({ itemIdentifier: id })) };
}
