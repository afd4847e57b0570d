import type { Clock, Timer } from "../ports/clock.ts";
import { TasklaneError } from "../task/errors.ts";
import { popHeap, pushHeap } from "./heap.ts";

interface Pending {
  readonly at: number;
  /** Timers of one moment fire in the order in which they were set. */
  readonly order: number;
  readonly callback: () => void;
  live: boolean;
}

const DEFAULT_START_MS = Date.UTC(2026, 0, 1);
/** Cancelled timers stay in the heap until they would be half of it. */
const SWEEP_MIN_TIMERS = 64;

/**
 * A clock that stands still until it is moved, for tests and simulators.
 *
 * Timers fire inside {@link ManualClock.advanceTo}, one after the other; what they resolve runs only when the caller awaits.
 * A driver of asynchronous code therefore moves to {@link ManualClock.nextTimerAt} step by step, and awaits in between.
 */
export class ManualClock implements Clock {
  readonly #start: number;
  #now: number;
  #order = 0;
  #pending = 0;
  #timers: Pending[] = [];

  /** Starts at a time in milliseconds since 1970, by default the first of January 2026. */
  constructor(start: number = DEFAULT_START_MS) {
    this.#start = start;
    this.#now = start;
  }

  now(): number {
    return this.#now;
  }

  monotonic(): number {
    return this.#now - this.#start;
  }

  timer(ms: number, callback: () => void): Timer {
    // Whole milliseconds, as the wall clock has them: what is written down from now() has no fractions.
    const at = this.#now + Math.ceil(Math.max(0, ms));
    const timer: Pending = { at, order: this.#order++, callback, live: true };
    this.#pending += 1;
    pushHeap(this.#timers, timer, firesBefore);
    return {
      cancel: () => {
        if (!timer.live) return;
        timer.live = false;
        this.#pending -= 1;
        this.#sweep();
      },
    };
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#pending;
  }

  /** When the next timer fires, or `undefined` if none waits. */
  nextTimerAt(): number | undefined {
    while (this.#timers[0]?.live === false) popHeap(this.#timers, firesBefore);
    return this.#timers[0]?.at;
  }

  /** Moves the clock by so many milliseconds. */
  advance(ms: number): void {
    this.advanceTo(this.#now + ms);
  }

  /**
   * Moves the clock to a time, and fires on the way every timer that is due, in order and at its own time; also those that a
   * callback sets on the way.
   *
   * @throws TasklaneError `OPTION_INVALID` if the time lies behind
   */
  advanceTo(ms: number): void {
    if (!(ms >= this.#now))
      throw new TasklaneError("OPTION_INVALID", {
        what: "The clock cannot be moved to a time that lies behind",
        received: ms,
        expected: `at least ${this.#now}`,
      });
    for (let next = this.nextTimerAt(); next !== undefined && next <= ms; next = this.nextTimerAt()) {
      const timer = popHeap(this.#timers, firesBefore);
      if (timer === undefined) break;
      this.#now = Math.max(this.#now, timer.at);
      timer.live = false;
      this.#pending -= 1;
      timer.callback();
    }
    this.#now = Math.max(this.#now, ms);
  }

  #sweep(): void {
    if (this.#timers.length < SWEEP_MIN_TIMERS || this.#timers.length < 2 * this.#pending) return;
    // A sorted array is a heap.
    this.#timers = this.#timers
      .filter((timer) => timer.live)
      .sort((left, right) => left.at - right.at || left.order - right.order);
  }
}

function firesBefore(left: Pending, right: Pending): boolean {
  return left.at < right.at || (left.at === right.at && left.order < right.order);
}
