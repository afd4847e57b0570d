import type { RateLimiter } from "../../control/rate-limit.ts";
import { hashText } from "../../flow/payload.ts";
import type { Clock, Random } from "../../ports/clock.ts";
import type { RateLimit } from "../../task/define-rate-limit.ts";
import type { FailureListener, SqsBatch, SqsRecord } from "./batch.ts";
import { failRecord } from "./batch.ts";
import type { Copy } from "./queue.ts";
import type { Slotted } from "./slots.ts";
import { copyAttributes, delayWithoutSlot, heldSlot } from "./slots.ts";

/** What a reservation goes by. */
export interface Reserving {
  readonly limit: RateLimit;
  readonly key: ((record: SqsRecord) => string) | undefined;
  readonly clock: Clock;
  readonly random: Random;
  readonly tell: FailureListener;
}

/**
 * Finds a slot for each record of a batch: the one that it brought, or one of those that one write reserves for all records of
 * a bucket. A record that gets none within the horizon is to be sent back without.
 */
export async function reserveSlots(
  batch: SqsBatch,
  limiter: RateLimiter,
  { limit, key, clock, random, tell }: Reserving,
): Promise<{ readonly slotted: Slotted[]; readonly throttled: Copy[] }> {
  const slotted: Slotted[] = [];
  const throttled: Copy[] = [];
  const buckets = new Map<string, SqsRecord[]>();
  for (const record of batch.given) {
    const window = heldSlot(limit, record, clock.now());
    if (window !== undefined) {
      slotted.push({ record, window });
      continue;
    }
    try {
      // As for tasks: a hash, since keys may hold personal data, and the same one, so that the limit is shared.
      const bucket = key === undefined ? "" : hashText(key(record)).slice(0, 22);
      buckets.set(bucket, [...(buckets.get(bucket) ?? []), record]);
    } catch (error) {
      failRecord(batch, record, error, tell);
    }
  }
  for (const [bucket, records] of buckets) {
    try {
      const decisions = await limiter.reserve(limit, bucket, records.length);
      for (const [place, record] of records.entries()) {
        const decision = decisions[place];
        if (decision?.kind === "slot") {
          slotted.push({ record, window: decision });
          continue;
        }
        const now = clock.now();
        const delayMs = delayWithoutSlot(decision?.nextMs ?? now, now, random.next());
        throttled.push({ record, delayMs, attributes: copyAttributes(record, limit, undefined) });
      }
    } catch (error) {
      for (const record of records) failRecord(batch, record, error, tell);
    }
  }
  return { slotted, throttled };
}
