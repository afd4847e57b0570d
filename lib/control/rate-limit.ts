import type { Clock, Random } from "../ports/clock.ts";
import type { Ledger } from "../ports/ledger.ts";
import type { RateLimit } from "../task/define-rate-limit.ts";
import { RATE_LIMIT_HORIZON_MS, RATE_LIMIT_SHARD_WRITES_PER_SECOND } from "../task/limits.ts";

/** When a task may start under its rate limit. */
export type SlotDecision =
  | { readonly kind: "slot"; readonly slotUs: number; readonly startMs: number; readonly endMs: number }
  /** No slot within the horizon; the bucket has one again from about then on. */
  | { readonly kind: "later"; readonly nextMs: number };

/**
 * A rate limit over all workers: a reservation-style GCRA (https://en.wikipedia.org/wiki/Generic_cell_rate_algorithm).
 *
 * A bucket hands out slots that lie one interval apart. A slot is good from its time on for `burst - 1` intervals, and for one
 * start. So the starts of any stretch of time come from slots of that stretch and `burst - 1` intervals before it: never more
 * than `burst + rate × time`. Idle time is credited by letting the next slot lie that far in the past. A burst of 1 gets one
 * interval all the same, since no start is ever on the dot: its bound is that of 2.
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

  /** Reserves slots for so many starts under one key, in one write. @throws TasklaneError */
  async reserve(limit: RateLimit, key: string, count: number): Promise<SlotDecision[]> {
    const { intervalUs, burst, shards } = shape(limit);
    const shard = shards === 1 ? "" : `#${Math.floor(this.#random.next() * shards)}`;
    const bucket = `${limit.name}${shard}#${key}`;
    const now = this.#clock.now();
    const refusedUntil = this.#refusedUntilMs.get(bucket);
    if (refusedUntil !== undefined) {
      if (refusedUntil > now) return laterAll(count, refusedUntil + RATE_LIMIT_HORIZON_MS);
      this.#refusedUntilMs.delete(bucket);
    }
    const windowUs = windowOf(burst) * intervalUs;
    const reserved = await this.#ledger.reserve({
      bucket,
      count,
      nowUs: now * 1_000,
      intervalUs,
      // The oldest credited slot is good for a little longer than it takes to claim, or half of its life if that is short.
      floorUs: now * 1_000 - windowUs + Math.max(intervalUs, Math.min(windowUs / 2, 250_000)),
      horizonUs: (now + RATE_LIMIT_HORIZON_MS) * 1_000,
      expiresAt: now + 2 * RATE_LIMIT_HORIZON_MS + windowUs / 1_000,
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
  const { intervalUs, burst } = shape(limit);
  const whole = Math.ceil(slotUs);
  return {
    kind: "slot",
    slotUs: whole,
    startMs: Math.ceil(whole / 1_000),
    endMs: Math.floor((whole + windowOf(burst) * intervalUs) / 1_000),
  };
}

/** For how many intervals a slot is good. */
function windowOf(burst: number): number {
  return Math.max(1, burst - 1);
}

/** A fast limit is split over several items, each with its share of rate and burst, since one item takes about 1,000 writes a second. */
function shape(limit: RateLimit): { intervalUs: number; burst: number; shards: number } {
  const perSecond = (limit.limit * 1_000) / limit.perMs;
  const wanted = Math.ceil(perSecond / RATE_LIMIT_SHARD_WRITES_PER_SECOND);
  const shards = Math.max(1, Math.min(wanted, Math.floor(limit.burst / 2)));
  return {
    intervalUs: Math.ceil((limit.perMs * 1_000 * shards) / limit.limit),
    burst: Math.floor(limit.burst / shards),
    shards,
  };
}

function laterAll(count: number, nextMs: number): SlotDecision[] {
  return Array.from({ length: Math.max(0, count) }, () => ({ kind: "later" as const, nextMs }));
}
