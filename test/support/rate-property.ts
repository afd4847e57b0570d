/** A start that went against a rate limit: how many there were in a stretch of time, and how many there may be. */
export interface RateBreach {
  readonly starts: number;
  readonly overMs: number;
  readonly allowed: number;
}

/**
 * Looks at every stretch of time from one start to another, both included, for more than `burst + rate × time` starts.
 *
 * @param toleranceMs how much longer a stretch counts, where times are taken a little after the start itself
 */
export function worstBreach(
  starts: readonly number[],
  limit: { readonly limit: number; readonly perMs: number; readonly burst: number },
  toleranceMs = 0,
): RateBreach | undefined {
  const times = [...starts].sort((one, other) => one - other);
  let worst: RateBreach | undefined;
  for (const [first, from] of times.entries())
    for (let last = first; last < times.length; last++) {
      const overMs = (times[last] ?? from) - from;
      const allowed = limit.burst + (limit.limit * (overMs + toleranceMs)) / limit.perMs;
      const count = last - first + 1;
      if (count > allowed + 1e-9 && count - allowed > (worst?.starts ?? 0) - (worst?.allowed ?? 0))
        worst = { starts: count, overMs, allowed };
    }
  return worst;
}
