import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import type { Duration } from "../../../lib/task/duration.ts";
import { formatDuration, parseDuration } from "../../../lib/task/duration.ts";

const UNITS = { ms: 1, s: 1_000, m: 60_000, h: 3_600_000, d: 86_400_000 } as const;

describe("a duration", () => {
  test.each([
    ["250ms", 250],
    ["30s", 30_000],
    ["5m", 300_000],
    ["12h", 43_200_000],
    ["14d", 1_209_600_000],
    ["0s", 0],
    ["1.5s", 1_500],
    ["0.5d", 43_200_000],
    ["36500d", 36_500 * 86_400_000],
  ] as const)("%s is %i ms", (text, ms) => {
    expect(parseDuration(text, "delay")).toBe(ms);
  });

  test("is its number times its unit, in whole milliseconds", () => {
    assert(
      fc.property(fc.nat({ max: 36_500 }), fc.constantFrom("ms", "s", "m", "h", "d"), (count, unit) => {
        return parseDuration(`${count}${unit}` as Duration, "delay") === count * UNITS[unit as keyof typeof UNITS];
      }),
    );
  });

  test.each([
    "",
    "5",
    "s",
    "5 s",
    " 5s",
    "5s ",
    "5s\n",
    "-5s",
    "+5s",
    "1e3s",
    "5S",
    "5sec",
    "5w",
    "five m",
    "5m30s",
    "0x5s",
    ".5s",
    "5.s",
    "NaNs",
    "Infinityd",
    "36501d",
    "9999999999999ms",
    "٥s",
    "5\u0000s",
    30,
    30_000n,
    null,
    undefined,
    {},
    ["5s"],
    Number.NaN,
  ])("refuses %o with value, expectation and fix", (value) => {
    const parse = () => parseDuration(value as never, 'timeout of task "a"');
    expect(parse).toThrow(expect.objectContaining({ code: "DURATION_INVALID" }));
    expect(parse).toThrow(
      /^DURATION_INVALID: The timeout of task "a" is not a duration\. Received: [^]+\. Expected: .*"30s".* Fix: ./,
    );
  });

  test("that lost its unit is told how to write it", () => {
    expect(() => parseDuration(30 as never, "delay")).toThrow('Fix: write "30ms" or "30s"');
  });

  test("is refused quickly however long the text is", () => {
    const started = performance.now();
    for (const text of ["9".repeat(100_000), `${"9".repeat(100_000)}s`, `1.${"9".repeat(100_000)}`])
      expect(() => parseDuration(text as never, "delay")).toThrow("DURATION_INVALID");
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test.each([
    [0, "0ms"],
    [999, "999ms"],
    [1_000, "1s"],
    [1_500, "1.5s"],
    [90_000, "1.5m"],
    [7_200_000, "2h"],
    [1_209_600_000, "14d"],
  ])("of %i ms is written %s", (ms, text) => {
    expect(formatDuration(ms)).toBe(text);
  });
});
