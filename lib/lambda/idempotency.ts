import { fanOut } from "../aws/fan-out.ts";
import { clockOf } from "../connect.ts";
import { systemRandom } from "../system.ts";
import type { Duration } from "../task/duration.ts";
import { parseDuration } from "../task/duration.ts";
import type { Json } from "../task/json.ts";
import { checkOptions } from "../task/known-options.ts";
import { CLOCK_SKEW_MAX_MS } from "../task/limits.ts";
import { jsonLogger } from "../worker-log.ts";
import type { MiddlewareOptions, SqsRecord } from "./middleware-batch.ts";
import { COMMON_OPTIONS, failRecord, failureListener, removeRecords } from "./middleware-batch.ts";
import type { SqsMiddleware } from "./middleware-chain.ts";
import { sqsMiddleware } from "./middleware-chain.ts";
import { isAbandoned } from "./middleware-outcomes.ts";
import { lazyIdempotencyTable } from "./middleware-connect.ts";
import type { IdempotencyAttributes } from "./middleware-idempotency-table.ts";
import type { KeyClaim } from "./middleware-key-claim.ts";
import { checkKey, hashPayload, jsonResult, refusalOf } from "./middleware-key-claim.ts";

/** How long a key is held where the host does not say when the invocation ends: Lambda's longest timeout. */
const INVOCATION_MAX_MS = 900_000;

/** What makes two messages the same work, and where that is kept. */
export interface IdempotencyOptions extends MiddlewareOptions {
  /** The DynamoDB table: a partition key `id`, a text, and TTL on `expiration`. One of Powertools for AWS Lambda fits. */
  readonly table: string;
  /**
   * The key of the work, up to 2,048 bytes, used as it is. Take it from the body: a message that is sent again, or comes back
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

/**
 * Hands each piece of work to the handler once, though its message comes more often. Needs `dynamodb:PutItem`, `UpdateItem`,
 * `DeleteItem` and `GetItem` on the table.
 *
 * A key that is completed: the message is acknowledged, and the handler does not see it. In progress elsewhere: the message is
 * reported as failed and comes again. Another payload under the same key: reported as failed with `IDEMPOTENCY_CONFLICT`. If the
 * handler fails, the key is free again. A key is completed only by who holds it, and taken over once its invocation must be over.
 *
 * @throws TasklaneError `OPTION_INVALID`, `DURATION_INVALID`
 */
export function idempotency(options: IdempotencyOptions): SqsMiddleware {
  const own = ["table", "key", "payload", "expires", "onReplay", "attributes"];
  checkOptions(options, [...COMMON_OPTIONS, ...own], "OPTION_INVALID", "idempotency");
  const expiresMs = parseDuration(options.expires ?? "14d", "expires of idempotency");
  const clock = clockOf(options);
  const random = options.random ?? systemRandom;
  const log = jsonLogger(clock);
  const tell = failureListener("idempotency", options);
  const tableOf = lazyIdempotencyTable(options);
  const { key: keyOf, payload: payloadOf = (record) => record.body } = options;

  return sqsMiddleware({
    name: "idempotency",
    async before(batch, remainingMs = INVOCATION_MAX_MS) {
      const table = await tableOf();
      // Clocks differ: nobody takes over what may still run.
      const inProgressUntil = clock.now() + Math.max(0, remainingMs) + CLOCK_SKEW_MAX_MS;
      const times = { inProgressUntil, expiresAt: inProgressUntil + expiresMs };
      const claims: [SqsRecord, KeyClaim][] = [];
      for (const record of batch.given) {
        try {
          const payloadHash = hashPayload(payloadOf(record));
          claims.push([record, { key: checkKey(keyOf(record)), payloadHash, token: random.token(), ...times }]);
        } catch (error) {
          failRecord(batch, record, error, tell);
        }
      }
      const held: [SqsRecord, KeyClaim][] = [];
      const answers = await fanOut(
        claims,
        ([, { key }]) => key,
        async ([record, claim]) => ({ record, claim, answer: await table.claim(claim) }),
      );
      for (const { record, claim, answer } of answers) {
        const reason = refusalOf(answer, claim.key);
        // A claim that was never answered may hold the key: it is given up with those of failed records.
        if (answer.kind === "claimed" || (answer.kind === "failed" && answer.unanswered)) held.push([record, claim]);
        try {
          if (answer.kind === "completed") {
            options.onReplay?.(record, answer.result);
            removeRecords(batch, new Set([record.messageId]));
          } else if (reason !== undefined) failRecord(batch, record, reason, tell);
        } catch (error) {
          failRecord(batch, record, error, tell);
        }
      }
      return async (outcomes) => {
        await fanOut(
          held,
          ([, { key }]) => key,
          async ([{ messageId: id }, claim]) => {
            const outcome = outcomes.get(id);
            if (outcome?.ok === false && isAbandoned(outcome.reason)) return;
            if (outcome?.ok !== true || batch.failed.has(id)) return table.release(claim);
            const result = jsonResult(outcome.result);
            const error = await table.complete({ ...claim, expiresAt: clock.now() + expiresMs }, result);
            // The work is done: to report it as failed would do it again for certain.
            if (error !== undefined)
              log("warn", "completion not kept", { messageId: id, code: error.code, error: error.message });
          },
        );
      };
    },
  });
}
