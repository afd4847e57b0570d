import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import type { Backoff } from "../../../lib/task/backoff.ts";
import { backoffBound, backoffDelay, parseBackoff } from "../../../lib/task/backoff.ts";

const anyPolicy: fc.Arbitrary<Backoff> = fc
  .record({
    initialMs: fc.nat({ max: 86_400_000 }),
    factor: fc.double({ min: 1, max: 100, noNaN: true }),
    extraMs: fc.nat({ max: 86_400_000 }),
    jitter: fc.constantFrom("full" as const, "none" as const),
  })
  .map(({ initialMs, factor, extraMs, jitter }) => ({ initialMs, factor, maxMs: initialMs + extraMs, jitter }));
const anyFailures = fc.integer({ min: 1, max: 1_001 });
const anyChance = fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true });

describe("backoff", () => {
  test("waits at most 1, 4, 16, 64 and 256 s by default", () => {
    const policy = parseBackoff(undefined, "task");
    expect([1, 2, 3, 4, 5].map((failures) => backoffBound(policy, failures))).toEqual([
      1_000, 4_000, 16_000, 64_000, 256_000,
    ]);
    expect(backoffBound(policy, 1_000)).toBe(900_000);
  });

  test("is a whole number from 0 to its bound, and never above the maximum", () => {
    assert(
      fc.property(anyPolicy, anyFailures, anyChance, (policy, failures, chance) => {
        const delay = backoffDelay(policy, failures, chance);
        const bound = backoffBound(policy, failures);
        return Number.isInteger(delay) && delay >= 0 && delay <= bound && bound <= policy.maxMs;
      }),
      { numRuns: 2_000 },
    );
  });

  test("has a bound that never shrinks as failures add up, and stays at the maximum once there", () => {
    assert(
      fc.property(anyPolicy, anyFailures, (policy, failures) => {
        const bound = backoffBound(policy, failures);
        const next = backoffBound(policy, failures + 1);
        return next >= bound && (bound < policy.maxMs || next === policy.maxMs);
      }),
      { numRuns: 2_000 },
    );
  });

  test("has the first wait as its first bound", () => {
    assert(fc.property(anyPolicy, (policy) => backoffBound(policy, 1) === policy.initialMs));
  });

  test("without jitter waits the bound itself, whatever the chance", () => {
    assert(
      fc.property(anyPolicy, anyFailures, anyChance, (policy, failures, chance) => {
        const steady: Backoff = { ...policy, jitter: "none" };
        return backoffDelay(steady, failures, chance) === backoffBound(steady, failures);
      }),
    );
  });

  test("with full jitter grows with the chance, over the whole of the bound", () => {
    const policy = parseBackoff({ initial: "10s" }, "task");
    expect(backoffDelay(policy, 1, 0)).toBe(0);
    expect(backoffDelay(policy, 1, 0.25)).toBe(2_500);
    expect(backoffDelay(policy, 1, 0.5)).toBe(5_000);
    expect(backoffDelay(policy, 1, 0.9999)).toBe(9_999);
  });

  test("with a first wait of nothing never waits, however often it failed", () => {
    const policy = parseBackoff({ initial: "0ms", factor: 100 }, "task");
    expect([1, 2, 200, 1_001].map((failures) => backoffDelay(policy, failures, 0.5))).toEqual([0, 0, 0, 0]);
  });

  test("takes each option, and the defaults for the rest", () => {
    expect(parseBackoff({ initial: "250ms", factor: 1.5 }, "task")).toEqual({
      initialMs: 250,
      factor: 1.5,
      maxMs: 900_000,
      jitter: "full",
    });
    expect(parseBackoff({ max: "1h", jitter: "none" }, "task")).toMatchObject({ maxMs: 3_600_000, jitter: "none" });
  });

  test.each([
    [{ factor: 0.5 }, "backoff.factor", "0.5"],
    [{ factor: 101 }, "backoff.factor", "101"],
    [{ factor: Number.NaN }, "backoff.factor", "NaN"],
    [{ factor: Number.POSITIVE_INFINITY }, "backoff.factor", "Infinity"],
    [{ factor: "2" }, "backoff.factor", '"2"'],
    [{ jitter: "half" }, "backoff.jitter", '"half"'],
    [{ initial: "20m" }, "backoff.max", '"initial 1200000 ms, max 900000 ms"'],
  ])("refuses %j with value, expectation and fix", (options, setting, received) => {
    expect(() => parseBackoff(options as never, 'task "a"')).toThrow(
      expect.objectContaining({ code: "DEFINITION_INVALID", fix: expect.any(String) }),
    );
    expect(() => parseBackoff(options as never, 'task "a"')).toThrow(
      new RegExp(`${setting} of task "a".* Received: ${received.replaceAll(".", "\\.")}\\. Expected: .* Fix: `),
    );
  });

  test.each(["initial", "max"])("refuses a %s that is no duration, naming the setting", (setting) => {
    expect(() => parseBackoff({ [setting]: "soon" }, 'task "a"')).toThrow(
      new RegExp(`^DURATION_INVALID: The backoff\\.${setting} of task "a" is not a duration\\. Received: "soon"`),
    );
  });
});
