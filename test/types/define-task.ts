import * as v from "valibot";
import { z } from "zod";
import {
  CancelError,
  defineRateLimit,
  defineTask,
  RetryAfterError,
  SnoozeError,
  TerminalError,
} from "../../lib/index.ts";
import type { TaskContext, TaskHandler, TaskInput, TaskOutput } from "../../lib/index.ts";
import type { Equal } from "./equal.ts";
import { check } from "./equal.ts";

const smtp = defineRateLimit({ name: "smtp", limit: 50, per: "1s", burst: 100 });

// Everything that a definition takes, with zod.
export const sendReceipt = defineTask({
  name: "send-receipt",
  input: z.object({ orderId: z.string(), to: z.string() }),
  output: z.object({ messageId: z.string() }),
  lane: "high",
  idempotencyKey: (input) => input.orderId,
  maxRetries: 5,
  backoff: { initial: "1s", factor: 4, max: "15m", jitter: "full" },
  maxCrashes: 3,
  maxLifetime: "14d",
  timeout: "30s",
  rateLimit: smtp,
  rateLimitKey: (input) => input.to,
  retention: "14d",
});
check<Equal<TaskInput<typeof sendReceipt>, { orderId: string; to: string }>>();
check<Equal<TaskOutput<typeof sendReceipt>, { messageId: string }>>();

// The same with valibot.
export const makeInvoice = defineTask({
  name: "make-invoice",
  input: v.object({ orderId: v.string(), copies: v.optional(v.number(), 1) }),
  output: v.object({ pages: v.number() }),
  idempotencyKey: (input) => input.orderId,
});
check<Equal<TaskInput<typeof makeInvoice>, { orderId: string; copies?: number | undefined }>>();
check<Equal<TaskOutput<typeof makeInvoice>, { pages: number }>>();

// Transforms: the producer gives the input side, the handler gets the output side, a result is what the schema makes of it.
export const chargeCard = defineTask({
  name: "charge-card",
  input: z.object({ cents: z.string().transform(Number), at: z.iso.datetime().transform((text) => new Date(text)) }),
  output: z.object({ receipt: z.string().transform((text) => new URL(text)) }),
  idempotencyKey: (input) => {
    check<Equal<typeof input, { cents: string; at: string }>>();
    return input.cents;
  },
});
check<Equal<TaskInput<typeof chargeCard>, { cents: string; at: string }>>();
check<Equal<TaskOutput<typeof chargeCard>, { receipt: URL }>>();
export const chargeCardHandler = chargeCard.handle((input, ctx) => {
  check<Equal<typeof input, { cents: number; at: Date }>>();
  check<Equal<typeof ctx, TaskContext>>();
  return { receipt: "https://example.com/r" };
});
// @ts-expect-error the handler gives the input side of the output schema, not the output side
chargeCard.handle(() => ({ receipt: new URL("https://example.com/r") }));

export const resize = defineTask({
  name: "resize",
  input: v.pipe(v.string(), v.transform(Number)),
  output: v.pipe(v.number(), v.transform(String)),
});
check<Equal<TaskInput<typeof resize>, string>>();
check<Equal<TaskOutput<typeof resize>, string>>();
resize.handle((width) => {
  check<Equal<typeof width, number>>();
  return width;
});
// @ts-expect-error a text is the output side
resize.handle((width) => String(width));

// Without an output schema a handler returns what it likes, and nothing is kept.
export const nightlyExport = defineTask({ name: "nightly-export", input: z.object({ day: z.string() }) });
check<Equal<TaskOutput<typeof nightlyExport>, undefined>>();
nightlyExport.handle(() => undefined);
nightlyExport.handle(async () => {});
nightlyExport.handle(async ({ day }) => day.length);

// A handler's result, at once or promised.
sendReceipt.handle(() => ({ messageId: "m" }));
sendReceipt.handle(async () => ({ messageId: "m" }));
sendReceipt.handle(async (input, ctx) => {
  if (ctx.signal.aborted) throw new CancelError("stopped");
  if (input.to === "") throw new TerminalError("nobody to send to");
  if (ctx.attempt === 1) throw new RetryAfterError("30s");
  if (ctx.attempt === 2) throw new SnoozeError("1h");
  await ctx.progress({ sent: true });
  return { messageId: ctx.taskId };
});
// @ts-expect-error a wrong output
sendReceipt.handle(() => ({ messageId: 5 }));
// @ts-expect-error a wrong output, promised
sendReceipt.handle(async () => ({ message: "m" }));
// @ts-expect-error no output
sendReceipt.handle(() => {});
// @ts-expect-error no output, promised
sendReceipt.handle(async () => {});
// @ts-expect-error the input has no such field
sendReceipt.handle((input) => ({ messageId: input.id }));

// Handlers of any tasks lie in one list.
export const handlers: readonly TaskHandler[] = [chargeCardHandler, sendReceipt.handle(() => ({ messageId: "m" }))];

// Inside a handler another task is enqueued with its own input.
nightlyExport.handle(async ({ day }, ctx) => {
  const child = await ctx.enqueue(sendReceipt, { orderId: day, to: "a@b" }, { delay: "5m" });
  check<Equal<Awaited<ReturnType<typeof child.result>>, { messageId: string }>>();
  // @ts-expect-error a wrong input
  await ctx.enqueue(sendReceipt, { orderId: 5, to: "a@b" });
});

const input = z.object({ orderId: z.string() });
// @ts-expect-error a wrong lane
defineTask({ name: "a", input, lane: "urgent" });
// @ts-expect-error a duration without a unit
defineTask({ name: "a", input, timeout: "30" });
// @ts-expect-error a number is no duration
defineTask({ name: "a", input, timeout: 30_000 });
// @ts-expect-error an unknown unit
defineTask({ name: "a", input, retention: "2w" });
// @ts-expect-error a duration in words
defineTask({ name: "a", input, maxLifetime: "two days" });
// @ts-expect-error a wrong duration inside backoff
defineTask({ name: "a", input, backoff: { initial: "1sec" } });
// @ts-expect-error an unknown jitter
defineTask({ name: "a", input, backoff: { jitter: "half" } });
// @ts-expect-error an option that does not exist
defineTask({ name: "a", input, retries: 3 });
// @ts-expect-error no name
defineTask({ input });
// @ts-expect-error no input schema
defineTask({ name: "a" });
// @ts-expect-error an input that is no schema
defineTask({ name: "a", input: { orderId: "string" } });
// @ts-expect-error the key is made of the input as it is given, which has no such field
defineTask({ name: "a", input, idempotencyKey: (order) => order.id });
// @ts-expect-error a key is a text
defineTask({ name: "a", input, idempotencyKey: () => 5 });
// @ts-expect-error a rate limit by its name alone
defineTask({ name: "a", input, rateLimit: "smtp" });
// @ts-expect-error a rate limit whose values were never settled
defineTask({ name: "a", input, rateLimit: { name: "smtp", limit: 50 } });
// @ts-expect-error a wrong duration of a rate limit
defineRateLimit({ name: "smtp", limit: 50, per: "second" });
// @ts-expect-error a rate limit without a limit
defineRateLimit({ name: "smtp" });
// @ts-expect-error a wrong duration of a handler's error
export const snooze = new SnoozeError("an hour");
// @ts-expect-error a number is no duration of a handler's error
export const retry = new RetryAfterError(30);
// @ts-expect-error a definition is not changed afterwards
sendReceipt.maxRetries = 1;

// Options that are not known are given as undefined, which means the default.
const lane: "high" | undefined = "high" as "high" | undefined;
const timeout: `${number}s` | undefined = "30s" as `${number}s` | undefined;
defineTask({ name: "a", input, lane, timeout, backoff: { initial: timeout }, rateLimit: undefined });
