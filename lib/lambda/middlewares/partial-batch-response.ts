import type { MiddlewareOptions } from "./batch.ts";
import { failureListener } from "./batch.ts";
import type { SqsMiddleware } from "./chain.ts";
import { sqsMiddleware } from "./chain.ts";
import { checkMiddlewareOptions } from "./options.ts";

/** How failures are told of. */
export type PartialBatchResponseOptions = Pick<MiddlewareOptions, "onFailure" | "clock">;

/**
 * Turns what the handler returned, or threw, into the report that Lambda reads: only the records that failed come again. Needs
 * `ReportBatchItemFailures` on the event source, and no permission.
 *
 * The handler may return the results of `Promise.allSettled(event.Records.map(…))`, a report of its own, or nothing. If it
 * throws, all the records that it was given failed. The report is made of the event's own ids: never empty when something
 * failed, and never with an id that Lambda does not know. On a FIFO queue the rest of a failed record's group comes again too.
 *
 * @throws TasklaneError `OPTION_INVALID`
 */
export function partialBatchResponse(options: PartialBatchResponseOptions = {}): SqsMiddleware {
  checkMiddlewareOptions("partialBatchResponse", options);
  const tell = failureListener("partialBatchResponse", options);
  return sqsMiddleware({
    name: "partialBatchResponse",
    catches: true,
    settle(batch, outcomes) {
      for (const record of batch.given) {
        const outcome = outcomes.get(record.messageId);
        // A handler that reports ids gives no reasons: it has told of them itself.
        if (outcome?.ok === false && outcome.reason !== undefined) tell(record, outcome.reason);
      }
    },
  });
}
