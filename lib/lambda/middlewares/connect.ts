import type { SQSClient } from "@aws-sdk/client-sqs";
import { clockOf, importAws } from "../../connect.ts";
import type { RateLimiter } from "../../control/rate-limit.ts";
import { systemRandom } from "../../system.ts";
import type { MiddlewareOptions, SqsRecord } from "./batch.ts";
import type { IdempotencyTable } from "./idempotency-table.ts";
import type { IdempotencyTableOptions } from "./idempotency-table.ts";
import type { PlainQueue } from "./queue.ts";
import { queueUrlOf } from "./queue-url.ts";

/*
 * What talks to AWS is loaded and made at the first message, once for each execution environment: a function that is only
 * imported, in a test or by a bundler, needs neither SDK nor region.
 */

/** The queue that a record came from, or the one that the options name. */
export function lazyQueue(
  options: MiddlewareOptions & { readonly queueUrl?: string | undefined },
): (record: SqsRecord) => Promise<PlainQueue> {
  let client: SQSClient | undefined;
  return async (record) => {
    const url = options.queueUrl ?? queueUrlOf(record);
    const { PlainQueue: Queue, sqsClient } = await importAws(() => import("./queue.ts"));
    client ??= sqsClient(options.sdk);
    return new Queue(client, url, clockOf(options), options.random ?? systemRandom);
  };
}

/** The rate limiter on a table. */
export function lazyLimiter(options: MiddlewareOptions & { readonly table: string }): () => Promise<RateLimiter> {
  let limiter: RateLimiter | undefined;
  return async () => {
    const { openLimiter } = await importAws(() => import("./limiter.ts"));
    limiter ??= openLimiter(options.sdk, options.table, clockOf(options), options.random ?? systemRandom);
    return limiter;
  };
}

/** The table of idempotency keys. */
export function lazyIdempotencyTable(
  options: MiddlewareOptions & IdempotencyTableOptions,
): () => Promise<IdempotencyTable> {
  let table: IdempotencyTable | undefined;
  return async () => {
    const { IdempotencyTable: Table } = await importAws(() => import("./idempotency-table.ts"));
    table ??= new Table(options, clockOf(options));
    return table;
  };
}
