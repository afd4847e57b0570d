import type { Duration } from "./duration.ts";
import { parseDuration } from "./duration.ts";
import { TasklaneError } from "./errors.ts";
import { checkOptions } from "./known-options.ts";
import { checkName } from "./name.ts";

/** How often handlers may start, over all workers together. */
export interface RateLimitOptions {
  /** Identity of the limit across tasks and deploys: `[a-z0-9][a-z0-9._-]{0,63}`. Tasks that name it share it. */
  name: string;
  /** Starts per `per`. */
  limit: number;
  /** The time that `limit` counts for. Default `"1s"`. */
  per?: Duration | undefined;
  /**
   * Starts that may come at once after a quiet time. Default: one second's worth, at least 1. A small burst is smoother, but a
   * slot is good for `(burst - 1) / limit` only: below about half a second slots are missed and work is put back more often.
   * No start is ever on the dot, so a burst of 1 stays below its limit: by up to a fifth, and by more above 25 starts a second.
   */
  burst?: number | undefined;
}

/** A rate limit with every value settled. */
export interface RateLimit {
  readonly name: string;
  readonly limit: number;
  readonly perMs: number;
  readonly burst: number;
}

/**
 * Defines a rate limit that handlers of any number of workers share.
 *
 * The promise counts handler starts: in any stretch of time never more than `burst + limit × time`.
 *
 * @throws TasklaneError `DEFINITION_INVALID`, `DURATION_INVALID`
 */
export function defineRateLimit(options: RateLimitOptions): RateLimit {
  const what = checkName(options.name, "rate limit");
  checkOptions(options, ["name", "limit", "per", "burst"], "DEFINITION_INVALID", what);
  const perMs = parseDuration(options.per ?? "1s", `per of ${what}`);
  const perSecond = (options.limit * 1_000) / perMs;
  if (!Number.isFinite(options.limit) || !Number.isFinite(perSecond) || options.limit <= 0 || perSecond > 100_000)
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The limit of ${what} is not a rate`,
      received: `${options.limit} per ${perMs} ms`,
      expected: "a limit above 0, and at most 100,000 a second",
      fix: "leave rateLimit out for no limit",
    });
  const burst = options.burst ?? Math.max(1, Math.floor(perSecond));
  if (!Number.isInteger(burst) || burst < 1 || burst > 1_000_000)
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The burst of ${what} lets nothing start`,
      received: burst,
      expected: "a whole number from 1 to 1,000,000",
      fix: "use 1 for an even flow",
    });
  return { name: options.name, limit: options.limit, perMs, burst };
}

/** Whether a value is what {@link defineRateLimit} returns. */
export function isRateLimit(value: unknown): value is RateLimit {
  if (typeof value !== "object" || value === null) return false;
  const { name, limit, perMs, burst } = value as Partial<RateLimit>;
  return typeof name === "string" && [limit, perMs, burst].every((part) => typeof part === "number" && part > 0);
}
