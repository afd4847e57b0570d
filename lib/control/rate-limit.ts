import type { Clock, Random } from "../ports/clock.ts";
import type { Ledger } from "../ports/ledger.ts";
import type { RateLimit } from "../task/define-rate-limit.ts";
import { RATE_LIMIT_HORIZON_MS, RATE_LIMIT_SHARD_WRITES_PER_SECOND } from "../task/limits.ts";

/** How long a bucket is kept after its last slot, in milliseconds: clocks differ, and forgetting too soon would give a burst away. */
const FORGET_AFTER_MS = 86_400_000;

/** When a task may start under its rate limit. */
export type SlotDecision =
  | { readonly kind: "slot"; readonly slotUs: number; readonly startMs: number; readonly endMs: number }
  /** No slot within the horizon; the bucket has one again from about then on. */
  | { readonly kind: "later"; readonly nextMs: number };

/** A slot is good for at least so long, in microseconds: a shorter one would be over before a worker's timer comes. */
const WINDOW_MIN_US = 10_000;
/** The oldest slot that is handed out stays good for so long, in microseconds: the claim has to come in between. */
const CLAIM_TIME_US = 250_000;
/** The same where a slot is good for a short time only. */
const CLAIM_TIME_MIN_US = 50_000;

/**
 * A rate limit over all workers: a reservation-style GCRA (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm).
 *
 * A bucket hands out slots that lie one interval apart. A slot is good from its time on for `burst - 1` intervals, and for one
 * start. So the starts of any stretch of time come from slots of that stretch and `burst - 1` intervals before it: never more
 * than `burst + rate × time`. Idle time is credited by letting the next slot lie that far in the past.
 * One write reserves slots for a whole batch; a refusal is remembered, so that it costs nothing more.
 */
export class RateLimiter {
  readonly #ledger: Ledger;
  readonly #clock: Clock;
  readonly #random: Random;
  readonly #refusedUntilMs = new Map<string, number>();

  constructor(ledger: Ledger, clock: Clock, random: Random) {
    this.#ledger = ledger;
    this.#clock = clock;
    this.#random = random;
  }

  /**
   * Reserves slots for so many starts under one key, in one write.
   *
   * @param fromMs nothing of it starts before: the slots are still good then. Default now
   * @throws TasklaneError
   */
  async reserve(limit: RateLimit, key: string, count: number, fromMs?: number): Promise<SlotDecision[]> {
    const { intervalUs, windowUs, shards } = shape(limit);
    const shard = shards === 1 ? "" : `#${Math.floor(this.#random.next() * shards)}`;
    const bucket = `${limit.name}${shard}#${key}`;
    const now = this.#clock.now();
    const refusedUntil = this.#refusedUntilMs.get(bucket);
    if (refusedUntil !== undefined) {
      if (refusedUntil > now) return laterAll(count, refusedUntil + RATE_LIMIT_HORIZON_MS);
      this.#refusedUntilMs.delete(bucket);
    }
    const fromUs = Math.max(now, fromMs ?? now) * 1_000;
    const claimTimeUs = Math.max(
      CLAIM_TIME_MIN_US,
      Math.min(windowUs, intervalUs),
      Math.min(windowUs / 2, CLAIM_TIME_US),
    );
    const reserved = await this.#ledger.reserve({
      bucket,
      count,
      nowUs: now * 1_000,
      intervalUs,
      floorUs: Math.ceil(fromUs - windowUs + claimTimeUs),
      horizonUs: (now + RATE_LIMIT_HORIZON_MS) * 1_000,
      // The next free slot may lie an interval beyond the horizon, and must not be forgotten before it has come.
      expiresAt: now + RATE_LIMIT_HORIZON_MS + (windowUs + intervalUs) / 1_000 + FORGET_AFTER_MS,
    });
    if (reserved.granted < count) this.#refuse(bucket, reserved.nextUs / 1_000 - RATE_LIMIT_HORIZON_MS);
    const slots = Array.from({ length: reserved.granted }, (_, at) =>
      slotAt(limit, reserved.firstUs + at * intervalUs),
    );
    return [...slots, ...laterAll(count - reserved.granted, reserved.nextUs / 1_000)];
  }

  #refuse(bucket: string, untilMs: number): void {
    // Keys are chosen by tasks: the memory of refusals must not grow with them.
    if (this.#refusedUntilMs.size > 10_000) this.#refusedUntilMs.clear();
    this.#refusedUntilMs.set(bucket, untilMs);
  }
}

/** The stretch of time in which a slot is good. */
export function slotAt(limit: RateLimit, slotUs: number): Extract<SlotDecision, { kind: "slot" }> {
  const { windowUs } = shape(limit);
  const whole = Math.ceil(slotUs);
  return {
    kind: "slot",
    slotUs: whole,
    startMs: Math.ceil(whole / 1_000),
    endMs: Math.floor((whole + windowUs) / 1_000),
  };
}

/**
 * A fast limit is split over several items, each with its share of rate and burst, since one item takes about 1,000 writes a second.
 *
 * With a burst of 1, `burst - 1` intervals are no time to start in, and with a small burst of a fast limit next to none. Such
 * slots are good for longer, and lie further apart by that time over `burst`: the promise holds, at a somewhat lower rate.
 */
function shape(limit: RateLimit): { intervalUs: number; windowUs: number; shards: number } {
  const perSecond = (limit.limit * 1_000) / limit.perMs;
  const wanted = Math.ceil(perSecond / RATE_LIMIT_SHARD_WRITES_PER_SECOND);
  const shards = Math.max(1, Math.min(wanted, Math.floor(limit.burst / 2)));
  const burst = Math.floor(limit.burst / shards);
  const evenUs = Math.ceil((limit.perMs * 1_000 * shards) / limit.limit);
  const leastUs = Math.ceil(Math.max(WINDOW_MIN_US, Math.min(evenUs / 4, 100_000), Math.min(evenUs / 10, 500_000)));
  const windowUs = Math.max((burst - 1) * evenUs, leastUs);
  const intervalUs = evenUs + Math.ceil((windowUs - (burst - 1) * evenUs) / burst);
  return { intervalUs, windowUs, shards };
}

function laterAll(count: number, nextMs: number): SlotDecision[] {
  return Array.from({ length: Math.max(0, count) }, () => ({ kind: "later" as const, nextMs }));
}
