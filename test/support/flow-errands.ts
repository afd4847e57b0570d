import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueUnknownError, TasklaneError } from "../../lib/task/errors.ts";
import { SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import type { TaskState } from "../../lib/task/states.ts";
import type { EnqueueOptions } from "../../lib/task/task-ref.ts";
import type { FlowHost } from "./flow-host.ts";
import type { FlowWorld } from "./flow-world.ts";

const STEADY = { initial: "2s", factor: 2, jitter: "none" } as const;

/** Does what its input says. */
const errand = defineTask({
  name: "errand",
  input: z.object({ do: z.string(), weight: z.string().optional() }),
  output: z.object({ done: z.string() }),
  backoff: STEADY,
  timeout: "10m",
});
const metered = defineTask({
  name: "metered",
  input: z.object({ n: z.number() }),
  rateLimit: defineRateLimit({ name: "supplier", limit: 1, per: "10s", burst: 1 }),
});
const child = defineTask({ name: "child", input: z.object({ of: z.string() }) });

/** How a task of the scenario has to end, whatever happens on the way. */
interface Wanted {
  readonly state: TaskState;
  /** Starts without any fault. */
  readonly starts: number;
}

/** A scenario that passes every call site: what was asked for, and what has to come of it. */
export interface Errands {
  /** By task id, as accepted; tasks whose enqueue never came back are not here. */
  readonly wanted: ReadonlyMap<string, Wanted>;
  /** Everything was asked for. */
  readonly asked: boolean;
}

/** The handlers of the scenario, for one process. */
export function errandHandlers(host: FlowHost): TaskHandler[] {
  return [
    errand.handle(async (input, ctx) => {
      if (input.do === "fail once" && ctx.attempt === 1) throw new Error("the first attempt fails");
      if (input.do === "snooze once" && ctx.attempt === 1) throw new SnoozeError("20s");
      if (input.do === "die") throw new TerminalError("it cannot be done");
      if (input.do === "have a child") await ctx.enqueue(child, { of: ctx.taskId });
      if (input.do === "take long") {
        await ctx.progress("half");
        await host.pause(70_000, ctx.signal);
        ctx.signal.throwIfAborted();
      }
      if (input.do === "give much") return { done: "x".repeat(3_000) };
      return { done: input.do };
    }),
    metered.handle(() => undefined),
    child.handle(() => undefined),
  ];
}

const PLAN: readonly [what: string, wanted: Wanted, input?: { weight: string }, options?: EnqueueOptions][] = [
  ["succeed", { state: "succeeded", starts: 1 }],
  ["fail once", { state: "succeeded", starts: 2 }],
  ["die", { state: "dead", starts: 1 }],
  ["snooze once", { state: "succeeded", starts: 2 }],
  ["have a child", { state: "succeeded", starts: 1 }],
  ["weigh in a side item", { state: "succeeded", starts: 1 }, { weight: "w".repeat(2_000) }],
  ["weigh in a bucket", { state: "succeeded", starts: 1 }, { weight: noise(90_000) }],
  ["give much", { state: "succeeded", starts: 1 }],
  ["take long", { state: "succeeded", starts: 1 }],
  ["wait a while", { state: "succeeded", starts: 1 }, undefined, { delay: "10s" }],
  ["wait long", { state: "succeeded", starts: 1 }, undefined, { delay: "16m" }],
];

/** Text that does not compress, the same each time. */
function noise(length: number): string {
  let [text, seed] = ["", 1];
  while (text.length < length) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    text += seed.toString(36);
  }
  return text.slice(0, length);
}

/** Asks for everything in the plan, one after the other, as an app does that calls again where it is told to. */
export async function askForErrands(world: FlowWorld, into: { wanted: Map<string, Wanted>; asked: boolean }): Promise<void> {
  for (const [what, wanted, input = {}, options = {}] of PLAN) {
    const task = await insist((again) => world.client.enqueue(errand, { do: what, ...input }, { ...options, ...again }));
    into.wanted.set(task.id, wanted);
  }
  for (let n = 1; n <= 3; n++) {
    const task = await insist((again) => world.client.enqueue(metered, { n }, again));
    into.wanted.set(task.id, { state: "succeeded", starts: 1 });
  }
  const unwanted = await insist((again) =>
    world.client.enqueue(errand, { do: "nothing" }, { delay: "5m", ...again }),
  );
  // A cancel whose answer was lost finds the task ended at the next try, which is just as good.
  await insist(() => unwanted.cancel("not needed any more").catch(forgive("CANCEL_REFUSED")));
  into.wanted.set(unwanted.id, { state: "cancelled", starts: 0 });
  into.asked = true;
}

function forgive(code: "CANCEL_REFUSED"): (error: unknown) => void {
  return (error) => {
    if (!TasklaneError.is(error, code)) throw error;
  };
}

async function insist<T>(ask: (again: { id?: string }) => Promise<T>): Promise<T> {
  let again: { id?: string } = {};
  for (let tries = 0; ; tries++) {
    try {
      return await ask(again);
    } catch (error) {
      if (!TasklaneError.is(error) || tries === 5) throw error;
      if (error instanceof EnqueueUnknownError) again = { id: error.taskId };
    }
  }
}
