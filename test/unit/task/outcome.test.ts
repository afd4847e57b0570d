import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { TasklaneError } from "../../../lib/task/errors.ts";
import { CancelError, RetryAfterError, SnoozeError, TerminalError } from "../../../lib/task/handler-errors.ts";
import { ERROR_MESSAGE_MAX_CHARS, ERROR_STACK_MAX_CHARS } from "../../../lib/task/limits.ts";
import { describeFailure, outcomeOfError, shorten } from "../../../lib/task/outcome.ts";
import { anyText } from "./arbitraries.ts";

describe("the outcome of a handler that threw", () => {
  test("is dead for a terminal error, with its reason", () => {
    expect(outcomeOfError(new TerminalError("no such order"))).toMatchObject({
      kind: "dead",
      failure: {
        code: "TERMINAL",
        message: "no such order.",
        stack: expect.stringContaining("outcome.test.ts"),
      },
    });
  });

  test("is cancelled for a cancel error", () => {
    expect(outcomeOfError(new CancelError("withdrawn"))).toMatchObject({
      kind: "cancelled",
      failure: { code: "CANCELLED" },
    });
  });

  test("is a snooze, with its time, for a snooze error", () => {
    expect(outcomeOfError(new SnoozeError("1h"))).toMatchObject({
      kind: "snooze",
      delayMs: 3_600_000,
      failure: { code: "SNOOZE" },
    });
  });

  test("is a retry after the time asked for, for a retry-after error", () => {
    expect(outcomeOfError(new RetryAfterError("30s"))).toMatchObject({
      kind: "retry",
      delayMs: 30_000,
      failure: { code: "RETRY_AFTER" },
    });
  });

  test("is a plain retry for any other error, of Tasklane or not", () => {
    for (const error of [
      new Error("down"),
      new TypeError("x"),
      new TasklaneError("BACKEND_UNAVAILABLE", { what: "x" }),
    ]) {
      const outcome = outcomeOfError(error);
      expect(outcome.kind).toBe("retry");
      expect(outcome).not.toHaveProperty("delayMs");
    }
    expect(outcomeOfError(new TypeError("x"))).toMatchObject({ failure: { code: "ERROR", message: "TypeError: x" } });
  });

  test("keeps the code beside the message, and leaves alone what others wrote", () => {
    const denied = new TasklaneError("PERMISSION_DENIED", { what: "AWS refused it", fix: "grant it" });
    expect(describeFailure(denied)).toMatchObject({
      code: "PERMISSION_DENIED",
      message: "AWS refused it. Fix: grant it.",
    });
    expect(describeFailure(new Error("HTTP ERROR: 500"))).toMatchObject({
      code: "ERROR",
      message: "Error: HTTP ERROR: 500",
    });
    expect(describeFailure(new TerminalError("not TERMINAL: yet"))).toMatchObject({ message: "not TERMINAL: yet." });
  });

  test("does not trust a time that is none", () => {
    for (const delayMs of [Number.NaN, -1, "5", undefined, Number.POSITIVE_INFINITY, 5n])
      expect(outcomeOfError(Object.assign(new SnoozeError("1h"), { delayMs }))).toMatchObject({
        kind: "snooze",
        delayMs: 0,
      });
  });

  test.each([
    ["undefined", undefined],
    ["null", null],
    ["a text", "down"],
    ["an empty text", ""],
    ["a number", 503],
    ["a big integer", 5n],
    ["a symbol", Symbol("s")],
    ["a function", () => 1],
    ["an object", { status: 503 }],
    ["an object without a prototype", Object.create(null) as unknown],
    ["a circle", circle()],
    ["a message that is no text", { message: { deep: 1 } }],
    ["a message that cannot be text", { message: Object.create(null) as unknown }],
    ["a message that is a symbol", { message: Symbol("s") }],
    ["a message getter that throws", Object.defineProperty({}, "message", { get: throwing })],
    ["a stack getter that throws", Object.defineProperty(new Error("x"), "stack", { get: throwing })],
    ["a toString that throws", { toString: throwing, toJSON: throwing }],
    [
      "a proxy that throws",
      new Proxy({}, { get: throwing, has: throwing, ownKeys: throwing, getPrototypeOf: throwing }),
    ],
    ["a proxy of an error that throws on get", new Proxy(new Error("x"), { get: throwing })],
    ["a revoked proxy", revokedProxy()],
    ["a promise", Promise.resolve(1)],
    ["an aggregate", new AggregateError([new Error("a")], "several")],
  ])("is a retry for %s, and never throws", (_, thrown) => {
    const outcome = outcomeOfError(thrown);
    expect(outcome).toMatchObject({ kind: "retry", failure: { code: "ERROR", message: expect.any(String) } });
    expect(JSON.parse(JSON.stringify(outcome))).toMatchObject({ kind: "retry" });
  });

  test("never throws, and keeps short whatever is thrown", () => {
    assert(
      fc.property(fc.anything({ withBigInt: true, withNullPrototype: true, withObjectString: true }), (thrown) => {
        const { failure } = outcomeOfError(thrown) as { failure: { message: string } };
        return failure.message.length <= ERROR_MESSAGE_MAX_CHARS;
      }),
      { numRuns: 2_000 },
    );
  });

  test("keeps so much of a huge message and a huge stack, and no more", () => {
    const error = new Error("m".repeat(1_000_000));
    error.stack = "s".repeat(1_000_000);
    const failure = describeFailure(error);
    expect(failure.message).toHaveLength(ERROR_MESSAGE_MAX_CHARS);
    expect(failure.message.endsWith("…")).toBe(true);
    expect(failure.stack).toHaveLength(ERROR_STACK_MAX_CHARS);
    expect(describeFailure("t".repeat(1_000_000)).message).toHaveLength(ERROR_MESSAGE_MAX_CHARS);
    expect(describeFailure({ big: "o".repeat(1_000_000) }).message).toHaveLength(ERROR_MESSAGE_MAX_CHARS);
    expect(outcomeOfError(new TerminalError("r".repeat(1_000_000)))).toMatchObject({
      kind: "dead",
      failure: { message: expect.stringMatching(/^.{1000}$/) },
    });
  });
});

describe("a shortened text", () => {
  test("is the text itself while it fits", () => {
    expect(shorten("abc", 3)).toBe("abc");
    expect(shorten("abcd", 3)).toBe("ab…");
  });

  test("is never cut in the middle of a character", () => {
    expect(shorten("ab😀cd", 4)).toBe("ab…");
    expect(shorten("ab😀cd", 5)).toBe("ab😀…");
    assert(
      fc.property(fc.string({ unit: "grapheme", maxLength: 40 }), fc.integer({ min: 1, max: 40 }), (text, max) => {
        const short = shorten(text, max);
        return short.length <= Math.max(max, 1) && short.isWellFormed();
      }),
    );
  });

  test("never grows, whatever the text", () => {
    assert(
      fc.property(
        anyText,
        fc.integer({ min: 1, max: 60 }),
        (text, max) => shorten(text, max).length <= Math.min(text.length, max),
      ),
    );
  });
});

function throwing(): never {
  throw new Error("thrown on purpose");
}

function circle(): unknown {
  const value: { self?: unknown } = {};
  value.self = value;
  return value;
}

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
