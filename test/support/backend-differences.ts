/*
 * The one table of what the backends of the tests do otherwise than AWS. The contract suites take from it what a backend cannot be held
 * to, docs/backends.md prints it, and each row has a probe that is run on every backend with that service: it must find the difference
 * where the row names the backend, and must find none elsewhere. So a row that a backend mends fails, and so does one that is missing.
 */

/** A backend of the tests. */
export type BackendName = "embedded" | "localstack" | "ministack" | "dynamodb-local" | "elasticmq";

/** A service that probes call. */
export type ServiceName = "SQS" | "DynamoDB" | "S3" | "CloudFormation" | "Lambda";

/** What some backends do otherwise than AWS. */
export interface BackendDifference {
  readonly id: string;
  readonly service: ServiceName;
  readonly backends: readonly BackendName[];
  /** What they do. */
  readonly does: string;
  readonly atAws: string;
  /** How the tests get by. */
  readonly tests: string;
}

/** Which services each backend has. */
export const SERVICES_OF: Readonly<Record<BackendName, readonly ServiceName[]>> = {
  embedded: ["SQS", "DynamoDB", "S3"],
  localstack: ["SQS", "DynamoDB", "S3", "CloudFormation", "Lambda"],
  ministack: ["SQS", "DynamoDB", "S3", "CloudFormation", "Lambda"],
  "dynamodb-local": ["DynamoDB"],
  elasticmq: ["SQS"],
};

/** Every known difference. */
export const DIFFERENCES = [
  {
    id: "stale-receipt-deletes",
    service: "SQS",
    backends: ["localstack"],
    does: "a delete with a receipt that is not the last one removes the message",
    atAws: "the message stays",
    tests: "no delete is a commit point; the contract holds both kinds to their word",
  },
  {
    id: "stale-receipt-refused",
    service: "SQS",
    backends: ["ministack", "elasticmq"],
    does: "such a delete is an error",
    atAws: "it may succeed and remove nothing",
    tests: "the adapter takes both for done",
  },
  {
    id: "long-delay",
    service: "SQS",
    backends: ["embedded", "localstack", "ministack"],
    does: "a delay of more than 900 s is taken",
    atAws: "refused",
    tests: "the refusal is tested in memory and on ElasticMQ",
  },
  {
    id: "long-visibility",
    service: "SQS",
    backends: ["localstack", "ministack", "elasticmq"],
    does: "a time out of sight of more than 12 hours is taken",
    atAws: "refused",
    tests: "the refusal is tested in memory and on the embedded stack",
  },
  {
    id: "astral-characters",
    service: "SQS",
    backends: ["embedded"],
    does: "a character beyond U+FFFF is refused",
    atAws: "taken",
    tests: "envelopes are ASCII; the other backends show that plain bodies may hold any",
  },
  {
    id: "noncharacter-in-a-batch",
    service: "SQS",
    backends: ["elasticmq"],
    does: "U+FFFF in one body refuses the whole batch as malformed",
    atAws: "that entry alone is refused",
    tests: "no envelope holds one; the contract looks at neighbours on the others",
  },
  {
    id: "retention",
    service: "SQS",
    backends: ["embedded", "localstack", "elasticmq"],
    does: "messages stay for ever",
    atAws: "forgotten after the retention",
    tests: "tested in memory, where a clock can be moved by days",
  },
  {
    id: "message-move",
    service: "SQS",
    backends: ["embedded", "ministack"],
    does: "StartMessageMoveTask is unknown",
    atAws: "moves dead letters back",
    tests: "native redrive is tested on LocalStack and ElasticMQ",
  },
  {
    id: "sources-of-a-dlq",
    service: "SQS",
    backends: ["embedded", "ministack"],
    does: "ListDeadLetterSourceQueues is unknown",
    atAws: "lists them",
    tests: "nothing calls it",
  },
  {
    id: "group-id",
    service: "SQS",
    backends: ["embedded"],
    does: "MessageGroupId on a standard queue is dropped",
    atAws: "kept, for fair queues",
    tests: "no message of ours has one yet",
  },
  {
    id: "unasked-attributes",
    service: "SQS",
    backends: ["embedded"],
    does: "a receive answers all attributes, asked for or not",
    atAws: "those asked for",
    tests: "a forgotten request for an attribute shows on the others",
  },
  {
    id: "message-size",
    service: "SQS",
    backends: ["elasticmq"],
    does: "a queue has no MaximumMessageSize",
    atAws: "1 MiB unless set otherwise",
    tests: "`provision` sets it always, and is tested on the others",
  },
  {
    id: "eleven-attributes",
    service: "SQS",
    backends: ["embedded", "localstack", "ministack"],
    does: "an eleventh message attribute is taken",
    atAws: "refused",
    tests: "our messages have none: everything is in the envelope",
  },
  {
    id: "url-host",
    service: "SQS",
    backends: ["embedded"],
    does: "queue URLs name a host that nobody resolves",
    atAws: "they are the address to call",
    tests: "`provision` writes the endpoint's host into them",
  },
  {
    id: "redrive-allow-policy",
    service: "SQS",
    backends: ["elasticmq"],
    does: "RedriveAllowPolicy is unknown",
    atAws: "limits who may use a dead letter queue",
    tests: "`provision` goes on without at an endpoint; the template is looked at instead",
  },
  {
    id: "counts-after-visibility",
    service: "SQS",
    backends: ["embedded"],
    does: "a message whose time out of sight ended counts as in flight until the next receive",
    atAws: "counted as visible, approximately",
    tests: "nothing irreversible is decided on counts; the depth is tested before a time ends",
  },
  {
    id: "refusal-without-item",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "a refused write does not return the item, though asked",
    atAws: "it does",
    tests: "the ledger then reads it, consistently; both ways pass one contract",
  },
  {
    id: "transactions",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "TransactWriteItems is unknown",
    atAws: "there",
    tests: "no path of a task uses one",
  },
  {
    id: "transaction-units",
    service: "DynamoDB",
    backends: ["embedded", "localstack", "dynamodb-local"],
    does: "a transaction tells the wrong units",
    atAws: "two for each KiB",
    tests: "units are worked out by the published rules, not read from an emulator",
  },
  {
    id: "statement-batches",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "BatchExecuteStatement is unknown",
    atAws: "there",
    tests: "the ledger fans single writes out",
  },
  {
    id: "statement-or",
    service: "DynamoDB",
    backends: ["embedded", "ministack"],
    does: "a statement with OR in parentheses is refused",
    atAws: "taken",
    tests: "as above",
  },
  {
    id: "index-units",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "an index's write is not counted",
    atAws: "counted as its own",
    tests: "the cost tests work units out by the published rules",
  },
  {
    id: "read-units",
    service: "DynamoDB",
    backends: ["ministack"],
    does: "a read counts one unit, whatever the size",
    atAws: "one for each 4 KiB",
    tests: "as above",
  },
  {
    id: "empty-index-key",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "an empty string is taken as the key of an index",
    atAws: "refused",
    tests: "the ledger contract passes on the others too, so it writes none",
  },
  {
    id: "time-to-live",
    service: "DynamoDB",
    backends: ["embedded"],
    does: "a time to live cannot be set",
    atAws: "expired items go within days",
    tests: "an expired record counts as absent wherever it is read",
  },
  {
    id: "point-in-time-recovery",
    service: "DynamoDB",
    backends: ["embedded", "dynamodb-local"],
    does: "point-in-time recovery cannot be set",
    atAws: "it can",
    tests: "`provision` sets it at AWS alone; the template is looked at instead",
  },
  {
    id: "if-none-match",
    service: "S3",
    backends: ["embedded"],
    does: "`If-None-Match: *` is ignored: a second put overwrites",
    atAws: "412, and the first bytes stay",
    tests: "tested on LocalStack and MiniStack; keys hold the hash of their bytes anyway",
  },
  {
    id: "if-match",
    service: "S3",
    backends: ["embedded"],
    does: "`If-Match` of a put is ignored",
    atAws: "412",
    tests: "nothing uses it",
  },
  {
    id: "delete-if-match",
    service: "S3",
    backends: ["localstack"],
    does: "a delete with `If-Match` is not implemented",
    atAws: "there",
    tests: "nothing uses it",
  },
  {
    id: "large-body",
    service: "S3",
    backends: ["embedded"],
    does: "a body of more than 11 MiB is refused",
    atAws: "5 GiB in one put",
    tests: "a payload has at most 10 MiB",
  },
  {
    id: "wrong-checksum",
    service: "S3",
    backends: ["embedded"],
    does: "a wrong checksum is not noticed",
    atAws: "refused",
    tests: "the reader of a payload compares the hash in its record",
  },
  {
    id: "wrong-checksum-damages",
    service: "S3",
    backends: ["localstack"],
    does: "a put that is refused for its checksum damages the object that was there",
    atAws: "it stays",
    tests: "clients have timeouts, since reading it hangs; no suite sends a wrong one",
  },
  {
    id: "public-access-block",
    service: "S3",
    backends: ["embedded"],
    does: "a public access block cannot be set",
    atAws: "it can",
    tests: "`provision` sets it at AWS alone; the template is looked at instead",
  },
  {
    id: "template-ttl",
    service: "CloudFormation",
    backends: ["ministack"],
    does: "a table's time to live is left out",
    atAws: "set",
    tests: "expiry is decided by the reader; the template is looked at instead",
  },
  {
    id: "template-recovery",
    service: "CloudFormation",
    backends: ["localstack", "ministack"],
    does: "a table's point-in-time recovery is left out",
    atAws: "set",
    tests: "the template is looked at instead",
  },
  {
    id: "template-new-index",
    service: "CloudFormation",
    backends: ["localstack"],
    does: "an index that an update adds is not made, though the update is complete",
    atAws: "made",
    tests: "the second deploy is tested on MiniStack",
  },
  {
    id: "template-lifecycle",
    service: "CloudFormation",
    backends: ["localstack", "ministack"],
    does: "a bucket's lifecycle rules are left out",
    atAws: "set",
    tests: "the template is looked at instead, and `provision` sets them by S3's own call",
  },
  {
    id: "template-bucket-tags",
    service: "CloudFormation",
    backends: ["ministack"],
    does: "a bucket's tags are left out",
    atAws: "set",
    tests: "the deploy suites leave `autoDeleteObjects` out, which needs one, and empty the buckets themselves",
  },
  {
    id: "metric-math",
    service: "CloudFormation",
    backends: ["ministack"],
    does: "an alarm with metric math fails the stack",
    atAws: "deployed",
    tests: "the deploy leaves those alarms out; the template is looked at instead",
  },
  {
    id: "unknown-id-reported",
    service: "Lambda",
    backends: ["ministack"],
    does: "a report with an id that is not in the batch counts as success",
    atAws: "the whole batch fails",
    tests: "reports are built from the event's own ids alone, and compared with it",
  },
  {
    id: "empty-id-reported",
    service: "Lambda",
    backends: ["ministack"],
    does: "a report with an empty id counts as success",
    atAws: "the whole batch fails",
    tests: "as above",
  },
] as const satisfies readonly BackendDifference[];

/** Names a difference, of one service if that is given. */
export type DifferenceId<Service extends ServiceName = ServiceName> = Extract<
  (typeof DIFFERENCES)[number],
  { service: Service }
>["id"];

/** Tells whether a backend has a difference. */
export function differs(backend: BackendName, id: DifferenceId): boolean {
  const row: BackendDifference | undefined = DIFFERENCES.find((difference) => difference.id === id);
  return row?.backends.includes(backend) === true;
}

/** The table as docs/backends.md has it. */
export function drawDifferences(): string {
  const rows = DIFFERENCES.map(
    ({ service, backends, does, atAws, tests }) =>
      `| ${service} | ${backends.map((name) => TITLES[name]).join(", ")} | ${does} | ${atAws} | ${tests} |`,
  );
  return [
    "| service | backend | what it does | at AWS | how the tests get by |",
    "| --- | --- | --- | --- | --- |",
    ...rows,
  ].join("\n");
}

const TITLES: Readonly<Record<BackendName, string>> = {
  embedded: "embedded",
  localstack: "LocalStack",
  ministack: "MiniStack",
  "dynamodb-local": "DynamoDB Local",
  elasticmq: "ElasticMQ",
};
