import type { Duration } from "./duration.ts";
import { parseDuration } from "./duration.ts";
import { TasklaneError } from "./errors.ts";
import { checkOptions } from "./known-options.ts";
import { DEFAULT_BACKOFF } from "./limits.ts";

/** How long a failed task waits for its next attempt. */
export interface BackoffOptions {
  /** Before the first retry. Default `"1s"`: short, since most failures pass at once. */
  initial?: Duration | undefined;
  /** Each further wait is this many times the last one. Default 4: five retries span about six minutes. */
  factor?: number | undefined;
  /** No wait is longer. Default `"15m"`, the longest delay of an SQS message, so that no retry needs the scheduler. */
  max?: Duration | undefined;
  /** `"full"` draws each wait evenly from 0 to its bound, so that a crowd spreads out; `"none"` waits the bound itself. Default `"full"`. */
  jitter?: "full" | "none" | undefined;
}

/** A backoff policy with every value settled, in milliseconds. */
export interface Backoff {
  readonly initialMs: number;
  readonly factor: number;
  readonly maxMs: number;
  readonly jitter: "full" | "none";
}

/**
 * The wait before the next attempt, in milliseconds.
 *
 * @param failures how many attempts have failed so far, from 1
 * @param random a number in [0, 1)
 */
export function backoffDelay(policy: Backoff, failures: number, random: number): number {
  const bound = backoffBound(policy, failures);
  return policy.jitter === "full" ? Math.round(bound * random) : bound;
}

/** The longest wait before the next attempt, in milliseconds: grows with the failures, and never above the policy's maximum. */
export function backoffBound(policy: Backoff, failures: number): number {
  // A first wait of nothing stays nothing; multiplied, it would meet infinity and become NaN.
  if (policy.initialMs === 0) return 0;
  const grown = policy.initialMs * policy.factor ** Math.max(0, failures - 1);
  return Math.min(policy.maxMs, Math.round(grown));
}

/**
 * Settles a backoff policy's values.
 *
 * @throws TasklaneError `DEFINITION_INVALID` for an unknown setting, a factor below 1 or a maximum below the first wait
 */
export function parseBackoff(options: BackoffOptions | undefined, what: string): Backoff {
  if (options !== undefined)
    checkOptions(options, ["initial", "factor", "max", "jitter"], "DEFINITION_INVALID", `backoff of ${what}`);
  const policy: Backoff = {
    initialMs: parseDuration(options?.initial ?? DEFAULT_BACKOFF.initial, `backoff.initial of ${what}`),
    factor: options?.factor ?? DEFAULT_BACKOFF.factor,
    maxMs: parseDuration(options?.max ?? DEFAULT_BACKOFF.max, `backoff.max of ${what}`),
    jitter: options?.jitter ?? DEFAULT_BACKOFF.jitter,
  };
  if (!Number.isFinite(policy.factor) || policy.factor < 1 || policy.factor > 100)
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The backoff.factor of ${what} does not make waits grow`,
      received: policy.factor,
      expected: "a number from 1 to 100",
      fix: "use 2 to double each wait, or 1 to keep it",
    });
  if (policy.jitter !== "full" && policy.jitter !== "none")
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The backoff.jitter of ${what} is unknown`,
      received: policy.jitter,
      expected: '"full" or "none"',
      fix: 'leave it out for "full", which spreads a crowd of retries',
    });
  if (policy.maxMs < policy.initialMs)
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The backoff.max of ${what} is shorter than backoff.initial`,
      received: `initial ${policy.initialMs} ms, max ${policy.maxMs} ms`,
      expected: "max at least as long as initial",
      fix: "raise max, or lower initial",
    });
  return policy;
}
