import type { Clock } from "../ports/clock.ts";
import type { LambdaContext } from "./lambda-event.ts";

/** What is kept at the end for handlers to see their signal and for what they come to to be written. */
const RESERVE_RATIO = 0.1;
const RESERVE_MIN_MS = 1_000;
const RESERVE_MAX_MS = 5_000;
/** An attempt that starts this soon had the whole of the invocation. */
const FRESH_MS = 2_000;

/** The time of one invocation. All in milliseconds, on the monotonic clock. */
export class Deadline {
  /** How long the invocation may take in all. */
  readonly totalMs: number;
  /** How much of its end is kept for handing back. */
  readonly reserveMs: number;
  readonly #clock: Clock;
  readonly #startedAt: number;

  constructor(clock: Clock, context: LambdaContext | undefined) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    this.totalMs = remainingOf(context);
    this.reserveMs = Math.min(RESERVE_MAX_MS, Math.max(RESERVE_MIN_MS, this.totalMs * RESERVE_RATIO));
  }

  /** Until Lambda ends the invocation. */
  get leftMs(): number {
    return Math.max(0, this.totalMs - (this.#clock.monotonic() - this.#startedAt));
  }

  /** Until what runs must come to an end. */
  get workMs(): number {
    return Math.max(0, this.leftMs - this.reserveMs);
  }

  /**
   * Whether an attempt that starts now can end in time. At the beginning of an invocation any attempt that the function allows at all may
   * start: it would not have more time in another one.
   */
  fits(timeoutMs: number): boolean {
    if (this.workMs <= 0) return false;
    const isFresh = this.#clock.monotonic() - this.#startedAt <= FRESH_MS;
    return timeoutMs <= this.workMs || (isFresh && timeoutMs <= this.totalMs);
  }
}

/** No context is a call by hand, which nothing ends. Zero, less, or no number at all is a time that has run out, never "no limit". */
function remainingOf(context: LambdaContext | undefined): number {
  if (context?.getRemainingTimeInMillis === undefined) return Number.MAX_SAFE_INTEGER;
  const remaining = context.getRemainingTimeInMillis();
  return Number.isFinite(remaining) ? Math.max(0, remaining) : 0;
}
