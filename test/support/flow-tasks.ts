import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";

const attempted = z.object({ attempt: z.number() });

/** Adds up, once for each pair of numbers. */
export const add = defineTask({
  name: "add",
  input: z.object({ a: z.int(), b: z.int(), note: z.string().optional() }),
  output: z.int(),
  idempotencyKey: ({ a, b }) => `${a}+${b}`,
});
/** Gives its text back. */
export const echo = defineTask({
  name: "echo",
  input: z.object({ text: z.string() }),
  output: z.object({ text: z.string() }),
});
/** Fails so many times, and then succeeds. */
export const shaky = defineTask({
  name: "shaky",
  input: z.object({ failures: z.int() }),
  output: attempted,
  backoff: { initial: "1s", factor: 1, jitter: "none" },
});
/** Sleeps so many times before it runs. */
export const drowsy = defineTask({ name: "drowsy", input: z.object({ snoozes: z.int() }), output: attempted });
/** Is dead at once unless its input is mended. */
export const hopeless = defineTask({
  name: "hopeless",
  input: z.object({ mended: z.boolean(), text: z.string().optional() }),
  output: z.string(),
});
/** Runs until it is told to stop. */
export const endless = defineTask({ name: "endless", input: z.object({}), timeout: "10m" });
/** Runs so long. */
export const long = defineTask({ name: "long", input: z.object({ ms: z.int() }), output: attempted });
/** Enqueues a child. */
export const parent = defineTask({ name: "parent", input: z.object({ n: z.int() }), output: z.string() });
/** Five a second. */
export const paced = defineTask({
  name: "paced",
  input: z.object({ n: z.int() }),
  output: z.int(),
  rateLimit: defineRateLimit({ name: "paced", limit: 5, burst: 1 }),
});

/** When the handlers of one site started, by task id. */
export type Starts = Map<string, number[]>;

/** Handlers for all of them, which note their starts. */
export function flowHandlers(starts: Starts): TaskHandler[] {
  const note = (id: string): void => void starts.set(id, [...(starts.get(id) ?? []), Date.now()]);
  return [
    add.handle(({ a, b }, { taskId }) => {
      note(taskId);
      return a + b;
    }),
    echo.handle(({ text }) => ({ text })),
    shaky.handle(({ failures }, { attempt }) => {
      if (attempt <= failures) throw new Error(`attempt ${attempt} fails`);
      return { attempt };
    }),
    drowsy.handle(({ snoozes }, { attempt }) => {
      if (attempt <= snoozes) throw new SnoozeError("1s");
      return { attempt };
    }),
    hopeless.handle(({ mended }, { taskId }) => {
      note(taskId);
      if (!mended) throw new TerminalError("of no use");
      return "mended";
    }),
    endless.handle(
      (_input, { taskId, signal }) =>
        new Promise((_resolve, reject) => {
          note(taskId);
          signal.addEventListener("abort", () => reject(signal.reason), { once: true });
        }),
    ),
    long.handle(async ({ ms }, { taskId, attempt, signal }) => {
      note(taskId);
      const end = Date.now() + ms;
      while (Date.now() < end && !signal.aborted) await new Promise((resolve) => setTimeout(resolve, 50));
      return { attempt };
    }),
    parent.handle(async ({ n }, { enqueue }) => (await enqueue(add, { a: n, b: 1 })).id),
    paced.handle(({ n }, { taskId }) => {
      note(taskId);
      return n;
    }),
  ];
}
