import { randomBytes } from "node:crypto";
import type { Clock, Random } from "./ports/clock.ts";

const TIME_DIGITS = 12;
const CHANCE_BYTES = 10;
const TOKEN_BYTES = 12;
/** Node fires a longer timer at once, so a longer wait is cut: whoever waits looks at the clock again. */
const TIMER_MAX_MS = 2_147_483_647;

/** The real time. A pending timer keeps the process alive: whoever waits is owed the answer. */
export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  timer(ms, callback) {
    const timeout = setTimeout(callback, Math.min(Math.max(0, ms), TIMER_MAX_MS));
    return { cancel: () => clearTimeout(timeout) };
  },
};

/** Real chance, from the operating system where it names something. */
export const systemRandom: Random = {
  next: () => Math.random(),
  id: (now) => now.toString(16).padStart(TIME_DIGITS, "0") + randomBytes(CHANCE_BYTES).toString("hex"),
  token: () => randomBytes(TOKEN_BYTES).toString("base64url"),
};

/** Lets whatever else is ready run once: for drivers of a clock that stands still, whose handlers do real work. */
export function nextTurn(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}
