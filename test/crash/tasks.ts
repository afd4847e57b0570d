import { existsSync } from "node:fs";
import { join } from "node:path";
import * as v from "valibot";
import { defineTask, SnoozeError } from "../../lib/index.ts";
import type { TaskContext, TaskHandler } from "../../lib/index.ts";
import type { Effect } from "./journal.ts";
import { append, Journal } from "./journal.ts";

/** Who committed: the fence and the process of the attempt that succeeded. */
const winner = v.object({ fence: v.number(), pid: v.number() });

/** Some asynchronous steps; an attempt fails or snoozes after them if the plan says so. Never dies of a crash. */
export const work = defineTask({
  name: "work",
  input: v.object({ stepsMs: v.array(v.number()), plan: v.array(v.picklist(["retry", "snooze"])) }),
  output: winner,
  maxCrashes: 50,
  backoff: { initial: "200ms", factor: 2, max: "1s" },
});

/** Holds its first attempts, each until its own gate is opened. */
export const gated = defineTask({
  name: "gated",
  input: v.object({
    gate: v.string(),
    /** How many attempts wait; later ones end at once. */
    holds: v.number(),
    /** Whether an abort ends the wait. */
    heedsSignal: v.boolean(),
  }),
  output: winner,
});

/** Takes its process down, once the company it is to have there has started. */
export const pill = defineTask({
  name: "pill",
  input: v.object({ death: v.picklist(["abort", "loop"]), company: v.number() }),
  // Once with its neighbours, once alone.
  maxCrashes: 2,
});

/** Blocks the event loop of its first attempt, until it was long enough and somebody else has started the task. */
export const spin = defineTask({
  name: "spin",
  input: v.object({ leastMs: v.number() }),
  output: winner,
});

/** Overflows the stack, which is an error like others. */
export const overflow = defineTask({
  name: "overflow",
  input: v.object({ depth: v.number() }),
  maxRetries: 0,
});

const POLL_MS = 20;
/** When something that a handler waits for does not come, the attempt fails and shows it. */
const WAIT_MAX_MS = 20_000;

/** The handlers, with the effects file and the gates in one directory. */
export function makeHandlers(effectsPath: string, dir: string): TaskHandler[] {
  const leave = (kind: Effect["kind"], ctx: TaskContext, code?: string): void => {
    const { taskId, attempt, fence } = ctx;
    append(effectsPath, { kind, taskId, attempt, fence, pid: process.pid, code });
  };
  const win = (ctx: TaskContext): v.InferOutput<typeof winner> => {
    leave("end", ctx);
    return { fence: ctx.fence, pid: process.pid };
  };
  const startsSeen = (matches: (effect: Effect) => boolean): number => {
    const journal = new Journal<Effect>(effectsPath);
    const count = journal.lines().filter((effect) => effect.kind === "start" && matches(effect)).length;
    journal.close();
    return count;
  };

  return [
    work.handle(async ({ stepsMs, plan }, ctx) => {
      leave("start", ctx);
      for (const ms of stepsMs) {
        await pause(ms);
        leave("step", ctx);
      }
      const wish = plan[ctx.attempt - 1];
      if (wish !== undefined) leave("end", ctx);
      if (wish === "retry") throw new Error("this attempt fails by plan");
      if (wish === "snooze") throw new SnoozeError("300ms");
      return win(ctx);
    }),

    gated.handle(async ({ gate, holds, heedsSignal }, ctx) => {
      leave("start", ctx);
      ctx.signal.addEventListener("abort", () => leave("aborted", ctx, ctx.signal.reason?.code), { once: true });
      const path = join(dir, `${gate}.${ctx.attempt}`);
      if (ctx.attempt <= holds)
        await waitFor(() => existsSync(path) || (heedsSignal && ctx.signal.aborted), `gate ${path}`);
      if (heedsSignal) ctx.signal.throwIfAborted();
      return win(ctx);
    }),

    pill.handle(async ({ death, company }, ctx) => {
      leave("start", ctx);
      // The pill's own start counts too.
      if (ctx.attempt === 1)
        await waitFor(() => startsSeen(({ pid }) => pid === process.pid) > company, `${company} neighbours`);
      if (death === "abort") process.abort();
      const parent = process.ppid;
      // Nothing gets in here any more, not even a signal handler; only a test that is gone lets it end.
      while (process.ppid === parent);
      process.exit(1);
    }),

    spin.handle(({ leastMs }, ctx) => {
      leave("start", ctx);
      const startedAt = performance.now();
      const isOver = (): boolean => {
        const ms = performance.now() - startedAt;
        if (ms > WAIT_MAX_MS) throw new Error("nobody took the task over");
        return ms >= leastMs && startsSeen(({ taskId }) => taskId === ctx.taskId) > 1;
      };
      if (ctx.attempt === 1) while (!isOver());
      return win(ctx);
    }),

    overflow.handle(({ depth }, ctx) => {
      leave("start", ctx);
      let nested: unknown[] = [];
      for (let level = 0; level < depth; level++) nested = [nested];
      return JSON.stringify(nested).length;
    }),
  ];
}

/** Lets go of a gated attempt. */
export function gatePath(dir: string, gate: string, attempt: number): string {
  return join(dir, `${gate}.${attempt}`);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function waitFor(condition: () => boolean, what: string): Promise<void> {
  const deadline = performance.now() + WAIT_MAX_MS;
  while (!condition()) {
    if (performance.now() > deadline) throw new Error(`${what} did not come`);
    await pause(POLL_MS);
  }
}
