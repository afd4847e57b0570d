import { describe, expect, test } from "vitest";
import type * as Errors from "../../../lib/task/errors.ts";
import {
  EnqueueManyError,
  EnqueueUnknownError,
  ERROR_CODES,
  InputInvalidError,
  QueueFullError,
  TasklaneError,
} from "../../../lib/task/errors.ts";
import type * as HandlerErrors from "../../../lib/task/handler-errors.ts";
import { CancelError, RetryAfterError, SnoozeError, TerminalError } from "../../../lib/task/handler-errors.ts";
import { describeFailure, outcomeOfError } from "../../../lib/task/outcome.ts";

/** Loads a module as a second bundle would hold it: the same source, evaluated again. */
async function loadAnotherCopy<T>(path: string): Promise<T> {
  return (await import(/* @vite-ignore */ `${path}?copy=2`)) as T;
}

describe("a Tasklane error", () => {
  test("says what went wrong, what came, what was expected and the fix", () => {
    const cause = new Error("deep");
    const error = new TasklaneError("OPTION_INVALID", {
      what: "The delay is negative",
      received: -5,
      expected: "0 or more",
      fix: "leave it out",
      cause,
    });
    expect(error.message).toBe(
      "OPTION_INVALID: The delay is negative. Received: -5. Expected: 0 or more. Fix: leave it out.",
    );
    expect(error).toMatchObject({ name: "TasklaneError", code: "OPTION_INVALID", fix: "leave it out", cause });
    expect(error).toBeInstanceOf(Error);
  });

  test("leaves out what it does not know, and ends its sentence once", () => {
    expect(new TasklaneError("TERMINAL", { what: "no such order" }).message).toBe("TERMINAL: no such order.");
    expect(new TasklaneError("TERMINAL", { what: "Card declined." }).message).toBe("TERMINAL: Card declined.");
    expect("cause" in new TasklaneError("TERMINAL", { what: "no such order" })).toBe(false);
  });

  test("shows that undefined was received, and cuts a long value", () => {
    expect(new TasklaneError("OPTION_INVALID", { what: "x", received: undefined }).message).toContain(
      "Received: undefined.",
    );
    const { message } = new TasklaneError("OPTION_INVALID", { what: "x", received: "y".repeat(100_000) });
    expect(message.length).toBeLessThan(250);
    expect(message).toContain("(100002 characters)");
  });

  test.each([
    ["a function", () => 1],
    ["a symbol", Symbol("s")],
    ["a big integer", 5n],
    ["a circle", circle()],
    ["an object without a prototype", Object.create(null) as unknown],
    ["a toJSON that gives nothing and a toString that throws", { toJSON: () => undefined, toString: throwing }],
    ["a toJSON that throws", { toJSON: throwing }],
    ["a getter that throws", Object.defineProperty({}, "x", { get: throwing, enumerable: true })],
    ["a revoked proxy", revokedProxy()],
  ])("can be made of %s", (_, received) => {
    expect(new TasklaneError("OPTION_INVALID", { what: "x", received }).message).toMatch(
      /^OPTION_INVALID: x\. Received: ./,
    );
  });

  test("is known by its brand and its code", () => {
    const error = new TasklaneError("TASK_DEAD", { what: "x" });
    expect(TasklaneError.is(error)).toBe(true);
    expect(TasklaneError.is(error, "TASK_DEAD")).toBe(true);
    expect(TasklaneError.is(error, "TASK_EXPIRED")).toBe(false);
  });

  test.each([
    ["another error", new Error("TASK_DEAD: x")],
    ["an error with a code", Object.assign(new Error("x"), { code: "TASK_DEAD" })],
    ["a brand without a code", { [Symbol.for("tasklane.error")]: true }],
    ["nothing", undefined],
    ["null", null],
    ["a text", "TASK_DEAD"],
    ["a proxy that throws", throwingProxy()],
    ["a revoked proxy", revokedProxy()],
  ])("is not mistaken for %s", (_, value) => {
    expect(TasklaneError.is(value)).toBe(false);
  });

  test("is known across two copies of the package, where instanceof fails", async () => {
    const copy = await loadAnotherCopy<typeof Errors>("../../../lib/task/errors.ts");
    const foreign = new copy.TasklaneError("QUEUE_FULL", { what: "x" });
    expect(copy.TasklaneError).not.toBe(TasklaneError);
    expect(foreign).not.toBeInstanceOf(TasklaneError);
    expect(TasklaneError.is(foreign, "QUEUE_FULL")).toBe(true);
    expect(copy.TasklaneError.is(new TasklaneError("QUEUE_FULL", { what: "x" }), "QUEUE_FULL")).toBe(true);
    expect(describeFailure(foreign)).toMatchObject({ code: "QUEUE_FULL" });
  });

  test("thrown by a handler of another copy has its effect", async () => {
    const copy = await loadAnotherCopy<typeof HandlerErrors>("../../../lib/task/handler-errors.ts");
    expect(copy.SnoozeError).not.toBe(SnoozeError);
    expect(outcomeOfError(new copy.SnoozeError("5m"))).toMatchObject({ kind: "snooze", delayMs: 300_000 });
    expect(outcomeOfError(new copy.RetryAfterError("7s"))).toMatchObject({ kind: "retry", delayMs: 7_000 });
    expect(outcomeOfError(new copy.TerminalError("no"))).toMatchObject({ kind: "dead" });
    expect(outcomeOfError(new copy.CancelError("no"))).toMatchObject({ kind: "cancelled" });
  });

  test.each(Object.entries(ERROR_CODES))("%s has a meaning in one line", (code, meaning) => {
    expect(code).toMatch(/^[A-Z]+(?:_[A-Z]+)*$/);
    expect(meaning).toMatch(/^[a-z][^\n.]*$|^the handler's [^\n.]*$|^AWS [^\n.]*$/);
  });
});

describe("the errors with more to say", () => {
  test("a full queue says when to come again, in milliseconds and in whole seconds", () => {
    const error = new QueueFullError({ what: "The lane is full" }, 2_400);
    expect(error).toMatchObject({ code: "QUEUE_FULL", statusCode: 503, retryAfterMs: 2_400, retryAfter: 3 });
    expect(new QueueFullError({ what: "x" }, 0).retryAfter).toBe(1);
  });

  test("an unknown enqueue names the id", () => {
    expect(new EnqueueUnknownError({ what: "x" }, "id-1")).toMatchObject({ code: "ENQUEUE_UNKNOWN", taskId: "id-1" });
  });

  test("a refused input lists its issues", () => {
    const issues = [{ message: "expected a text", path: "to" }];
    expect(new InputInvalidError({ what: "x" }, issues)).toMatchObject({ code: "INPUT_INVALID", issues });
  });

  test("a batch tells what was accepted from what was refused", () => {
    const failed = [{ index: 1, error: new TasklaneError("INPUT_INVALID", { what: "x" }) }];
    const error = new EnqueueManyError({ what: "x" }, [{ index: 0, task: "t" }], failed);
    expect(error).toMatchObject({ code: "ENQUEUE_MANY_FAILED", accepted: [{ index: 0, task: "t" }], failed });
  });

  test("the handler's errors keep what they were given", () => {
    const cause = new Error("down");
    expect(new TerminalError("no such order", { cause })).toMatchObject({
      code: "TERMINAL",
      reason: "no such order",
      cause,
    });
    expect(new RetryAfterError("30s", "busy", { cause })).toMatchObject({
      code: "RETRY_AFTER",
      delayMs: 30_000,
      cause,
    });
    expect(new RetryAfterError("30s").message).toBe("RETRY_AFTER: the handler asked for a retry (after 30s).");
    expect(new SnoozeError("1h")).toMatchObject({ code: "SNOOZE", delayMs: 3_600_000 });
    expect(new CancelError("order withdrawn")).toMatchObject({ code: "CANCELLED", reason: "order withdrawn" });
  });

  test("the handler's errors refuse a time that is none", () => {
    expect(() => new RetryAfterError("soon" as never)).toThrow(expect.objectContaining({ code: "DURATION_INVALID" }));
    expect(() => new SnoozeError(5 as never)).toThrow(expect.objectContaining({ code: "DURATION_INVALID" }));
  });
});

function circle(): unknown {
  const value: { self?: unknown } = {};
  value.self = value;
  return value;
}

function throwing(): never {
  throw new Error("thrown on purpose");
}

function throwingProxy(): unknown {
  return new Proxy({}, { get: throwing, has: throwing, getPrototypeOf: throwing, ownKeys: throwing });
}

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
