import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineRateLimit } from "../../../lib/task/define-rate-limit.ts";
import { defineTask } from "../../../lib/task/define-task.ts";
import { fullText, refusalOf } from "./refusal.ts";

const input = z.object({ orderId: z.string(), to: z.string() });

function defineWith(options: object): unknown {
  return defineTask({ name: "send-receipt", input, ...options } as never);
}

describe("defineTask", () => {
  test("settles every value once", () => {
    const smtp = defineRateLimit({ name: "smtp", limit: 50 });
    const output = z.object({ messageId: z.string() });
    const task = defineTask({
      name: "send-receipt",
      input,
      output,
      lane: "high",
      idempotencyKey: (order) => order.orderId,
      maxRetries: 2,
      backoff: { initial: "2s", factor: 3, max: "1m", jitter: "none" },
      maxCrashes: 1,
      maxLifetime: "2d",
      timeout: "45s",
      rateLimit: smtp,
      rateLimitKey: (order) => order.to,
      retention: "1d",
    });
    expect(task).toMatchObject({
      name: "send-receipt",
      lane: "high",
      maxRetries: 2,
      backoff: { initialMs: 2_000, factor: 3, maxMs: 60_000, jitter: "none" },
      maxCrashes: 1,
      maxLifetimeMs: 172_800_000,
      timeoutMs: 45_000,
      rateLimit: smtp,
      retentionMs: 86_400_000,
    });
    expect(task.input).toBe(input);
    expect(task.output).toBe(output);
    expect(task.idempotencyKey?.({ orderId: "o-1", to: "a@b" })).toBe("o-1");
    expect(task.rateLimitKey?.({ orderId: "o-1", to: "a@b" })).toBe("a@b");
  });

  test("takes zod and valibot schemas alike, for input and output", () => {
    expect(defineTask({ name: "a", input: v.object({ n: v.number() }), output: v.string() }).name).toBe("a");
    expect(defineTask({ name: "a", input: z.string(), output: z.void() }).name).toBe("a");
  });

  test("takes any object with a Standard Schema, and functions that carry one", () => {
    const schema = Object.assign(() => true, {
      "~standard": { version: 1 as const, vendor: "own", validate: (value: unknown) => ({ value }) },
    });
    expect(defineTask({ name: "a", input: schema }).input).toBe(schema);
  });

  test("is frozen, so that no module can bend another's contract", () => {
    const task = defineTask({ name: "send-receipt", input });
    expect(() => Object.assign(task, { maxRetries: 0 })).toThrow(TypeError);
  });

  test("binds a handler to the definition and hands it input and context as they are", async () => {
    const task = defineTask({ name: "send-receipt", input });
    const handler = task.handle(async (order, ctx) => ({ order, ctx }));
    const ctx = {} as never;
    const order = { orderId: "o-1", to: "a@b" };
    expect(handler.definition).toBe(task);
    expect(await handler.run(order, ctx)).toEqual({ order, ctx });
  });

  test.each([["send-receipt"], ["a"], ["9to5"], ["billing.invoice_v2"], ["a".repeat(64)]])(
    "accepts the name %s",
    (name) => {
      expect(defineTask({ name, input }).name).toBe(name);
    },
  );

  test.each([
    [""],
    ["SendReceipt"],
    ["-send"],
    [".send"],
    ["_send"],
    ["send receipt"],
    ["send/receipt"],
    ["send:receipt"],
    ["send-receipt\n"],
    ["säge"],
    ["a".repeat(65)],
    ["../etc"],
    ["__proto__"],
    [undefined],
    [null],
    [7],
    [["a"]],
    [{ toString: () => "a" }],
  ])("refuses the name %j", (name) => {
    expect(refusalOf(() => defineWith({ name }))).toMatchObject(fullText("DEFINITION_INVALID"));
  });

  test.each([
    ["SendReceipt", "send-receipt"],
    ["send receipt", "send-receipt"],
    ["  --Send__Receipt!", "send__receipt"],
    ["日本", "my-task"],
    ["A".repeat(100), "a".repeat(64)],
  ])("suggests for %s a name that it would take", (name, suggestion) => {
    expect(refusalOf(() => defineWith({ name })).fix).toBe(`for example "${suggestion}"`);
    expect(defineTask({ name: suggestion, input }).name).toBe(suggestion);
  });

  test.each([
    [{ lane: "urgent" }, "lane"],
    [{ lane: "toString" }, "lane"],
    [{ lane: "High" }, "lane"],
    [{ lane: 1 }, "lane"],
    [{ maxRetries: -1 }, "maxRetries"],
    [{ maxRetries: 1.5 }, "maxRetries"],
    [{ maxRetries: Number.NaN }, "maxRetries"],
    [{ maxRetries: Number.POSITIVE_INFINITY }, "maxRetries"],
    [{ maxRetries: "5" }, "maxRetries"],
    [{ maxRetries: 1_001 }, "maxRetries"],
    [{ maxCrashes: 0 }, "maxCrashes"],
    [{ maxCrashes: 1_001 }, "maxCrashes"],
    [{ timeout: "0s" }, "timeout"],
    [{ timeout: "12h" }, "timeout"],
    [{ maxLifetime: "999ms" }, "maxLifetime"],
    [{ maxLifetime: "367d" }, "maxLifetime"],
    [{ retention: "367d" }, "retention"],
    [{ backoff: { factor: 0 } }, "backoff.factor"],
    [{ backoff: { jitter: "some" } }, "backoff.jitter"],
    [{ backoff: { initail: "1s" } }, "backoff"],
    [{ backoff: { type: "exponential", delay: 1_000 } }, "backoff"],
    [{ backoff: "exponential" }, "backoff"],
    [{ backoff: 1_000 }, "backoff"],
    [{ rateLimitKey: () => "k" }, "rateLimitKey"],
    [{ rateLimit: { name: "smtp", limit: 50 } }, "rateLimit"],
    [{ rateLimit: "smtp" }, "rateLimit"],
    [{ rateLimit: null }, "rateLimit"],
    [{ idempotencyKey: "orderId" }, "idempotencyKey"],
    [{ rateLimit: defineRateLimit({ name: "a", limit: 1 }), rateLimitKey: "to" }, "rateLimitKey"],
    [{ input: undefined }, "input"],
    [{ input: {} }, "input"],
    [{ input: { "~standard": {} } }, "input"],
    [{ input: (value: unknown) => value }, "input"],
    [{ output: {} }, "output"],
    [{ output: null }, "output"],
  ])("checks %o", (options, setting) => {
    const error = refusalOf(() => defineWith(options));
    expect(error).toMatchObject(fullText("DEFINITION_INVALID"));
    expect(error.message).toContain(`${setting} of task "send-receipt"`);
  });

  test("checks that a handler is a function", () => {
    const task = defineTask({ name: "send-receipt", input: z.string() });
    expect(refusalOf(() => Reflect.apply(task.handle, task, [undefined]))).toMatchObject(
      fullText("DEFINITION_INVALID"),
    );
  });

  test.each([
    [{ maxRetries: 0 }],
    [{ maxRetries: 1_000 }],
    [{ maxCrashes: 1 }],
    [{ timeout: "1ms" }],
    [{ timeout: "11h" }],
    [{ maxLifetime: "1s" }],
    [{ maxLifetime: "366d" }],
    [{ retention: "0s" }],
    [{ retention: "366d" }],
  ])("accepts the limit value %o", (options) => {
    expect(() => defineWith(options)).not.toThrow();
  });

  test.each(["timeout", "maxLifetime", "retention"])("refuses a %s without a unit, naming the setting", (setting) => {
    const error = refusalOf(() => defineWith({ [setting]: 30 }));
    expect(error).toMatchObject(fullText("DURATION_INVALID"));
    expect(error.message).toContain(`The ${setting} of task "send-receipt"`);
    expect(error.message).toContain("Received: 30.");
  });

  test("refuses long names quickly", () => {
    const started = performance.now();
    for (const name of ["a".repeat(100_000), "A".repeat(100_000), "-".repeat(100_000), `${"a.".repeat(50_000)}!`])
      refusalOf(() => defineWith({ name }));
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});
