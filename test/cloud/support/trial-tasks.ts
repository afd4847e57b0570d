import { setTimeout as wait } from "node:timers/promises";
import { z } from "zod";
import type { TaskHandler } from "../../../lib/index.ts";
import { defineTask, TerminalError } from "../../../lib/index.ts";

/** Doubles a number: what a load consists of. */
export const double = defineTask({ name: "double", input: z.object({ n: z.int() }), output: z.int(), timeout: "5s" });

/** Fails so many times, then succeeds; or says that it is of no use. */
export const unruly = defineTask({
  name: "unruly",
  input: z.object({ failures: z.int(), terminal: z.boolean() }),
  output: z.int(),
  backoff: { initial: "1s", factor: 1, max: "1s" },
  timeout: "5s",
});

/** Takes its function down on its first attempts: by an abort, or by a loop that only the function's timeout ends. */
export const pill = defineTask({
  name: "pill",
  input: z.object({ kind: z.enum(["abort", "spin"]), attempts: z.int() }),
  output: z.int(),
  timeout: "5s",
});

/** Runs when its time comes. */
export const later = defineTask({ name: "later", input: z.object({}), output: z.string(), timeout: "5s" });

export const handlers: readonly TaskHandler[] = [
  double.handle(async ({ n }) => {
    await wait(1);
    return n * 2;
  }),
  unruly.handle(({ failures, terminal }, ctx) => {
    if (terminal) throw new TerminalError("this one never works");
    if (ctx.attempt <= failures) throw new Error(`attempt ${ctx.attempt} fails`);
    return ctx.attempt;
  }),
  pill.handle(({ kind, attempts }, ctx) => {
    if (ctx.attempt > attempts) return ctx.attempt;
    if (kind === "abort") process.abort();
    for (;;);
  }),
  later.handle(() => "done"),
];
