import type { Duration } from "../../task/duration.ts";
import { formatDuration, parseDuration } from "../../task/duration.ts";
import { TasklaneError } from "../../task/errors.ts";
import type { Json } from "../../task/json.ts";
import { checkFunction } from "../../task/known-options.ts";
import type { MiddlewareOptions, SqsRecord } from "./batch.ts";
import type { IdempotencyAttributes } from "./attributes.ts";
import { checkAttributes } from "./attributes.ts";
import { checkMiddlewareOptions, checkOptional, checkTable } from "./options.ts";

/** DynamoDB's TTL and the expiry count in seconds. */
const EXPIRES_MIN_MS = 1_000;

/** What makes two messages the same work, and where that is kept. */
export interface IdempotencyOptions extends MiddlewareOptions {
  /** The DynamoDB table: a partition key `id`, a text, and TTL on `expiration`. One of Powertools for AWS Lambda fits. */
  readonly table: string;
  /**
   * The key of the work, up to 2,048 bytes (1,024 where the table has a sort key), used as it is. Take it from the body: a message that is sent again, or comes back
   * from a dead letter queue, has another `messageId`. One table for several functions needs the function's name in the key.
   */
  readonly key: (record: SqsRecord) => string;
  /** What messages with the same key must have in common, else the later one is a conflict. Default: the body. */
  readonly payload?: ((record: SqsRecord) => string) | undefined;
  /** How long a key is kept after it was completed. Default `"14d"`, SQS's longest retention. */
  readonly expires?: Duration | undefined;
  /** Told of each message whose work was done before, with the result if it was kept. If it throws, the message comes again. */
  readonly onReplay?: ((record: SqsRecord, result: Json | undefined) => void) | undefined;
  /** Other names for the table's attributes. */
  readonly attributes?: IdempotencyAttributes | undefined;
}

/** Looks at the options, and answers how long a completed key is kept, in milliseconds. @throws TasklaneError `OPTION_INVALID`, `DURATION_INVALID` */
export function checkIdempotency(options: IdempotencyOptions): number {
  const name = "idempotency";
  checkMiddlewareOptions(name, options, ["table", "key", "payload", "expires", "onReplay", "attributes"]);
  checkTable(options.table, name);
  checkFunction(options.key, "OPTION_INVALID", `key of ${name}`, "({ body }) => JSON.parse(body).orderId");
  checkOptional(options.payload, `payload of ${name}`, "({ body }) => body");
  checkOptional(options.onReplay, `onReplay of ${name}`, "(record, result) => …");
  checkAttributes(options.attributes);
  const expiresMs = parseDuration(options.expires ?? "14d", `expires of ${name}`);
  if (expiresMs >= EXPIRES_MIN_MS) return expiresMs;
  throw new TasklaneError("OPTION_INVALID", {
    what: `The expires of ${name} forgets a key before its message can come again`,
    received: options.expires,
    expected: `at least ${formatDuration(EXPIRES_MIN_MS)}`,
    fix: "leave it out for 14 days, which is how long SQS keeps a message",
  });
}
