import type { Clock } from "../ports/clock.ts";
import type { LambdaContext } from "./lambda-event.ts";

/** What is kept at the end for handlers to see their signal and for what they come to to be written. */
const RESERVE_RATIO = 0.1;
const RESERVE_MIN_MS = 1_000;
const RESERVE_MAX_MS = 5_000;
/** An attempt that starts this soon had the whole of the invocation. Of a short one it is a third. */
const FRESH_MAX_MS = 2_000;
/** Nothing can be claimed, run and settled in less. */
const WORK_MIN_MS = 50;
/** A handler that has the time of a whole invocation times out this long before what has not ended is interrupted. */
const TIME_OUT_FIRST_MS = 100;

/** The time of one invocation. All in milliseconds, on the monotonic clock. */
export class Deadline {
  /** How long the invocation may take in all. */
  readonly totalMs: number;
  /** How much of its end is kept for handing back. */
  readonly reserveMs: number;
  /** Whether anything ends the invocation at all: a call by hand has no end. */
  readonly isSet: boolean;
  readonly #clock: Clock;
  readonly #startedAt: number;

  constructor(clock: Clock, context: LambdaContext | undefined) {
    this.#clock = clock;
    this.#startedAt = clock.monotonic();
    const remaining = remainingOf(context);
    this.isSet = remaining !== undefined;
    this.totalMs = remaining ?? Number.MAX_SAFE_INTEGER;
    // Of a short one half is for work, or nothing would ever fit.
    const reserveMs = Math.min(RESERVE_MAX_MS, Math.max(RESERVE_MIN_MS, this.totalMs * RESERVE_RATIO));
    this.reserveMs = Math.min(reserveMs, this.totalMs / 2);
  }

  /** The function's timeout: Lambda takes whole seconds, of which the start has used some milliseconds. */
  get functionMs(): number {
    return Math.ceil(this.totalMs / 1_000) * 1_000;
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
    if (this.workMs < WORK_MIN_MS) return false;
    return timeoutMs <= this.workMs || (this.#isFresh && timeoutMs <= this.functionMs);
  }

  /** How long an attempt has that starts now, if no invocation could give it its whole timeout. */
  limitMs(timeoutMs: number): number | undefined {
    if (timeoutMs <= this.totalMs - this.reserveMs) return undefined;
    return Math.max(0, Math.floor(this.workMs) - TIME_OUT_FIRST_MS);
  }

  get #isFresh(): boolean {
    return this.#clock.monotonic() - this.#startedAt <= Math.min(FRESH_MAX_MS, this.totalMs / 3);
  }
}

/** No context is a call by hand, which nothing ends. Zero, less, or no number at all is a time that has run out, never "no limit". */
function remainingOf(context: LambdaContext | undefined): number | undefined {
  if (context?.getRemainingTimeInMillis === undefined) return undefined;
  const remaining = context.getRemainingTimeInMillis();
  return Number.isFinite(remaining) ? Math.max(0, remaining) : 0;
}
