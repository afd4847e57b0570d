import { clockOf } from "../../connect.ts";
import { sleep } from "../../ports/clock.ts";
import { systemRandom } from "../../system.ts";
import type { RateLimit } from "../../task/define-rate-limit.ts";
import { isRateLimit } from "../../task/define-rate-limit.ts";
import { TasklaneError } from "../../task/errors.ts";
import { EARLY_WAIT_MAX_MS } from "../../task/limits.ts";
import type { MiddlewareOptions, SqsRecord } from "./batch.ts";
import { failRecord, failureListener, isFifo } from "./batch.ts";
import type { SqsMiddleware } from "./chain.ts";
import { sqsMiddleware } from "./chain.ts";
import { lazyLimiter, lazyQueue } from "./connect.ts";
import { checkMiddlewareOptions, checkOptional, checkQueueUrl, checkTable } from "./options.ts";
import { putBack } from "./put-back.ts";
import { reserveSlots } from "./reserve.ts";
import { chooseStart, copyAttributes, delayUntil } from "./slots.ts";

/** A copy whose slot was missed comes again within so long. */
const MISSED_SLOT_MS = 2_000;

/** Which limit, and where its slots are kept. */
export interface RateLimitMiddlewareOptions extends MiddlewareOptions {
  /** What `defineRateLimit` gave. Shared by all functions and workers that name it and use the same table. */
  readonly limit: RateLimit;
  /** The DynamoDB table with the limit's slots: a partition key `pk` and a sort key `sk`, both texts. A Tasklane ledger is one. */
  readonly table: string;
  /** Gives each value of its own a limit of its own, as in one for each tenant. Stored as a hash. Default: one for all. */
  readonly key?: ((record: SqsRecord) => string) | undefined;
  /** Default: the queue that the event names. */
  readonly queueUrl?: string | undefined;
}

/**
 * Lets the handler start only as many messages as a rate limit allows, over all functions and workers that share it. Needs
 * `sqs:SendMessage` and `sqs:DeleteMessage` on its own queue, and `dynamodb:UpdateItem` and `GetItem` on the table.
 *
 * A slot within two seconds is waited for. A later one within a minute travels in an attribute of a delayed copy; beyond that a
 * copy comes back after a random delay. The copy keeps body, attributes and group, and the original is acknowledged at once; if
 * the copy cannot be sent, the original is reported as failed. No message uses up its receives by being throttled.
 * The promise counts messages handed to the handler: in any stretch of time never more than `burst + limit × time`.
 *
 * @throws TasklaneError `OPTION_INVALID`
 */
export function rateLimit(options: RateLimitMiddlewareOptions): SqsMiddleware {
  checkMiddlewareOptions("rateLimit", options, ["limit", "table", "key", "queueUrl"]);
  checkTable(options.table, "rateLimit");
  checkQueueUrl(options.queueUrl, "rateLimit");
  checkOptional(options.key, "key of rateLimit", "({ body }) => JSON.parse(body).tenant");
  if (!isRateLimit(options.limit)) throw needsLimit(options.limit);
  const { limit, key } = options;
  const clock = clockOf(options);
  const random = options.random ?? systemRandom;
  const tell = failureListener("rateLimit", options);
  const queueOf = lazyQueue(options);
  const limiterOf = lazyLimiter(options);

  return sqsMiddleware({
    name: "rateLimit",
    async before(batch, remainingMs = Number.POSITIVE_INFINITY) {
      const [first] = batch.given;
      if (first === undefined) return;
      if (isFifo(first)) throw needsStandardQueue(first);
      const queue = await queueOf(first);
      const { slotted, throttled } = await reserveSlots(batch, await limiterOf(), { limit, key, clock, random, tell });
      const now = clock.now();
      const { startMs, starting, waiting } = chooseStart(slotted, now, Math.min(EARLY_WAIT_MAX_MS, remainingMs / 4));
      const later = waiting.map(({ record, window }) => ({
        record,
        delayMs: delayUntil(window, now),
        attributes: copyAttributes(record, limit, window),
      }));
      await putBack(batch, queue, [...throttled, ...later], tell);
      // A timer may come a moment early.
      while (starting.length > 0 && clock.now() < startMs) await sleep(clock, startMs - clock.now());
      const missed = starting.filter(({ window }) => clock.now() >= window.endMs);
      const again = missed.map(({ record }) => ({
        record,
        delayMs: MISSED_SLOT_MS * random.next(),
        attributes: copyAttributes(record, limit, undefined),
      }));
      await putBack(batch, queue, again, tell);
      // Each middleware further in takes time: what it takes too long for must not start any more.
      batch.checks.push(() => {
        const late = starting.filter(({ window }) => clock.now() >= window.endMs).map(({ record }) => record);
        for (const record of late) if (batch.given.includes(record)) failRecord(batch, record, missedSlot(), tell);
      });
    },
  });
}

function needsStandardQueue(record: SqsRecord): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: "rateLimit puts messages back with a delay of their own, which a FIFO queue does not take",
    received: record.eventSourceARN,
    expected: "a standard queue",
    fix: "limit the event source's maximum concurrency instead",
  });
}

function missedSlot(): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", {
    what: "The slot of the rate limit was over before the handler could start",
    fix: "none is needed: the message comes again; if this is often, give the limit a larger burst",
  });
}

function needsLimit(received: unknown): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: "The limit of rateLimit is no rate limit",
    received,
    expected: "what defineRateLimit returns",
    fix: 'write limit: defineRateLimit({ name: "smtp", limit: 50 })',
  });
}
