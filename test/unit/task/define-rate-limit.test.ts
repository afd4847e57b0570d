import { describe, expect, test } from "vitest";
import { defineRateLimit } from "../../../lib/task/define-rate-limit.ts";
import { fullText, refusalOf } from "./refusal.ts";

describe("defineRateLimit", () => {
  test("settles limit, time and burst", () => {
    expect(defineRateLimit({ name: "smtp", limit: 50, per: "1m", burst: 7 })).toEqual({
      name: "smtp",
      limit: 50,
      perMs: 60_000,
      burst: 7,
    });
  });

  test.each([
    [{ limit: 50 }, 1_000, 50],
    [{ limit: 50, per: "10s" }, 10_000, 5],
    [{ limit: 1, per: "1h" }, 3_600_000, 1],
    [{ limit: 0.5 }, 1_000, 1],
    [{ limit: 2.9 }, 1_000, 2],
  ] as const)("of %o has a second's worth as its burst, at least 1", (options, perMs, burst) => {
    expect(defineRateLimit({ name: "smtp", ...options })).toMatchObject({ perMs, burst });
  });

  test.each([
    [{ limit: 0 }],
    [{ limit: -1 }],
    [{ limit: Number.NaN }],
    [{ limit: Number.POSITIVE_INFINITY }],
    [{ limit: "50" }],
    [{ limit: undefined }],
    [{ limit: 100_001 }],
    [{ limit: 101, per: "1ms" }],
    [{ limit: 5, per: "0s" }],
    [{ limit: 5, burst: 0 }],
    [{ limit: 5, burst: 1.5 }],
    [{ limit: 5, burst: -1 }],
    [{ limit: 5, burst: "2" }],
    [{ limit: 5, burst: 1_000_001 }],
  ])("refuses %o", (options) => {
    const error = refusalOf(() => defineRateLimit({ name: "smtp", ...options } as never));
    expect(error).toMatchObject(fullText("DEFINITION_INVALID"));
    expect(error.message).toContain('rate limit "smtp"');
  });

  test("refuses a name that buckets cannot carry, and a time that is none", () => {
    expect(refusalOf(() => defineRateLimit({ name: "SMTP relay", limit: 5 }))).toMatchObject(
      fullText("DEFINITION_INVALID"),
    );
    expect(refusalOf(() => defineRateLimit({ name: "smtp", limit: 5, per: "second" as never }))).toMatchObject(
      fullText("DURATION_INVALID"),
    );
  });
});
