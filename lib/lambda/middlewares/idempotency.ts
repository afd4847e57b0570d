import { fanOut } from "../../aws/fan-out.ts";
import { clockOf } from "../../connect.ts";
import { systemRandom } from "../../system.ts";
import { CLOCK_SKEW_MAX_MS } from "../../task/limits.ts";
import { jsonLogger } from "../../worker-log.ts";
import type { SqsRecord } from "./batch.ts";
import { failRecord, failureListener, removeRecords } from "./batch.ts";
import type { SqsMiddleware } from "./chain.ts";
import { sqsMiddleware } from "./chain.ts";
import { isAbandoned } from "./outcomes.ts";
import { lazyIdempotencyTable } from "./connect.ts";
import type { KeyClaim } from "./key-claim.ts";
import { checkKey, hashPayload, jsonResult, KEY_MAX_BYTES, refusalOf, SORT_KEY_MAX_BYTES } from "./key-claim.ts";
import type { IdempotencyOptions } from "./idempotency-options.ts";
import { checkIdempotency } from "./idempotency-options.ts";

/** How long a key is held where the host does not say when the invocation ends: Lambda's longest timeout. */
const INVOCATION_MAX_MS = 900_000;

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
  const expiresMs = checkIdempotency(options);
  const clock = clockOf(options);
  const random = options.random ?? systemRandom;
  const log = jsonLogger(clock);
  const tell = failureListener("idempotency", options);
  const tableOf = lazyIdempotencyTable(options);
  const keyMaxBytes = options.attributes?.sortKey === undefined ? KEY_MAX_BYTES : SORT_KEY_MAX_BYTES;
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
          claims.push([
            record,
            { key: checkKey(keyOf(record), keyMaxBytes), payloadHash, token: random.token(), ...times },
          ]);
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
