import { TasklaneError } from "./errors.ts";

/** A length of time: a number and its unit, as in `"250ms"`, `"30s"`, `"5m"`, `"12h"` or `"14d"`. */
export type Duration = `${number}ms` | `${number}s` | `${number}m` | `${number}h` | `${number}d`;

const UNIT_MS: Readonly<Record<string, number>> = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 };
const PATTERN = /^(\d{1,12}(?:\.\d{1,6})?)(ms|s|m|h|d)$/;
/** A hundred years: anything longer is a mistake in the unit. */
const LONGEST_MS = 36_500 * 86_400_000;

/**
 * Turns a duration into whole milliseconds.
 *
 * @param what names the setting in the error, as in `"timeout of task send-receipt"`
 * @throws TasklaneError `DURATION_INVALID` for anything but a non-negative number with a unit
 */
export function parseDuration(value: Duration, what: string): number {
  const match = typeof value === "string" ? PATTERN.exec(value) : null;
  const ms = match ? Math.round(Number(match[1]) * (UNIT_MS[match[2] ?? ""] ?? Number.NaN)) : Number.NaN;
  if (Number.isFinite(ms) && ms <= LONGEST_MS) return ms;
  throw new TasklaneError("DURATION_INVALID", {
    what: `The ${what} is not a duration`,
    received: value,
    expected: 'a number with a unit, at most 100 years: "250ms", "30s", "5m", "12h" or "14d"',
    fix:
      typeof value === "number"
        ? `write "${value}ms" or "${value}s"`
        : "write the number and then ms, s, m, h or d, without a space",
  });
}

/** Writes milliseconds as a short duration for people, as in `1.5s` or `2h`. */
export function formatDuration(ms: number): string {
  for (const unit of ["d", "h", "m", "s"] as const) {
    const size = UNIT_MS[unit] ?? 1;
    if (ms >= size) return `${Number((ms / size).toFixed(1))}${unit}`;
  }
  return `${Math.round(ms)}ms`;
}
