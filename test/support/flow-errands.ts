import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueUnknownError, TasklaneError } from "../../lib/task/errors.ts";
import { SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import { isFinal } from "../../lib/task/states.ts";
import type { TaskState } from "../../lib/task/states.ts";
import type { EnqueueOptions, TaskRef } from "../../lib/task/task-ref.ts";
import type { FlowHost } from "./flow-host.ts";
import type { FlowWorld } from "./flow-world.ts";

/** Does what its input says. */
const errand = defineTask({
  name: "errand",
  input: z.object({ do: z.string(), weight: z.string().optional() }),
  output: z.object({ done: z.string() }),
  backoff: { initial: "2s", factor: 2, jitter: "none" },
  timeout: "10m",
});
const metered = defineTask({
  name: "metered",
  input: z.object({ n: z.number() }),
  rateLimit: defineRateLimit({ name: "supplier", limit: 1, per: "10s", burst: 1 }),
});
const child = defineTask({ name: "child", input: z.object({ of: z.string() }) });

/** The handlers of the errands, for one process. */
export function errandHandlers(host: FlowHost): TaskHandler[] {
  return [
    errand.handle(async (input, ctx) => {
      if (input.do === "fail once" && ctx.attempt === 1) throw new Error("the first attempt fails");
      if (input.do === "snooze once" && ctx.attempt === 1) throw new SnoozeError("20s");
      if (input.do === "die") throw new TerminalError("it cannot be done");
      if (input.do === "have a child") await ctx.enqueue(child, { of: ctx.taskId });
      if (input.do === "take long") {
        await ctx.progress("begun");
        await host.pause(70_000, ctx.signal);
        ctx.signal.throwIfAborted();
      }
      return { done: input.do === "give much" ? "x".repeat(3_000) : input.do };
    }),
    metered.handle(() => undefined),
    child.handle(() => undefined),
  ];
}

/** One thing to ask for, and what has to come of it whatever happens on the way. */
interface Errand {
  readonly what: string;
  readonly weight?: string;
  readonly options?: EnqueueOptions;
  readonly state: TaskState;
  /** How often its handler starts if nothing goes wrong. */
  readonly starts: number;
}

/** A plan of what to ask for. */
export type Errands = readonly Errand[];

/** What passes every call site but those of tasks for later. Takes a bit more than a minute. */
export const EVERYDAY_ERRANDS: Errands = [
  { what: "succeed", state: "succeeded", starts: 1 },
  { what: "fail once", state: "succeeded", starts: 2 },
  { what: "die", state: "dead", starts: 1 },
  { what: "snooze once", state: "succeeded", starts: 2 },
  { what: "have a child", state: "succeeded", starts: 1 },
  { what: "lie in a side item", weight: "w".repeat(2_000), state: "succeeded", starts: 1 },
  { what: "lie in a bucket", weight: noise(90_000), state: "succeeded", starts: 1 },
  { what: "give much", state: "succeeded", starts: 1 },
  { what: "take long", state: "succeeded", starts: 1 },
  { what: "wait a while", options: { delay: "10s" }, state: "succeeded", starts: 1 },
  { what: "be metered", state: "succeeded", starts: 1 },
  { what: "be metered", state: "succeeded", starts: 1 },
  { what: "be metered", state: "succeeded", starts: 1 },
  { what: "be cancelled", options: { delay: "30s" }, state: "cancelled", starts: 0 },
];

/** A task for later, which the scheduler has to send. Takes a bit more than a quarter of an hour. */
export const LATE_ERRANDS: Errands = [{ what: "wait long", options: { delay: "16m" }, state: "succeeded", starts: 1 }];

/** What was asked for so far. */
export interface Asked {
  /** Tasks whose enqueue came back, by id. */
  readonly tasks: Map<string, { errand: Errand; task: TaskRef }>;
}

/** Asks for everything in a plan, one after the other, as an app does that calls again where it is told to. */
export async function askFor(world: FlowWorld, errands: Errands, asked: Asked): Promise<void> {
  for (const [n, each] of errands.entries()) {
    const { what, weight, options = {} } = each;
    const task: TaskRef =
      what === "be metered"
        ? await insist((again) => world.client.enqueue(metered, { n }, again))
        : await insist((again) => world.client.enqueue(errand, { do: what, weight }, { ...options, ...again }));
    // A cancel whose answer was lost finds the task ended at the next try, which is just as good.
    if (what === "be cancelled") await insist(() => task.cancel().catch(forgiveEnded));
    asked.tasks.set(task.id, { errand: each, task });
  }
}

/** What is not as it should be once a plan was carried out, in words. `retold`: starts that faults may have added to a task. */
export async function faultsOf(world: FlowWorld, { tasks }: Asked, retold: number): Promise<string[]> {
  const found = [...world.audit.violations];
  for (const [id, { errand: wanted, task }] of tasks) {
    const blame = (what: string): void => void found.push(`"${wanted.what}" ${what}`);
    const record = world.record(id);
    const starts = world.of("attempt-started", id).length;
    const most = 1 + 5 + 3 + record.snoozes + record.interruptions;
    if (record.state !== wanted.state) blame(`is ${record.state}`);
    // A process that dies between claim and start has counted a start that never was.
    if (starts < wanted.starts - record.crashes || starts > Math.min(most, wanted.starts + retold))
      blame(`started ${starts} times`);
    if (world.audit.commitsOf(id) !== 1) blame(`was committed ${world.audit.commitsOf(id)} times`);
    if (wanted.state === "succeeded" && wanted.what !== "be metered") {
      const result = await task.result();
      const done = wanted.what === "give much" ? "x".repeat(3_000) : wanted.what;
      if (JSON.stringify(result) !== JSON.stringify({ done })) blame(`gave ${JSON.stringify(result).slice(0, 100)}`);
    }
    if (wanted.state === "dead" && !(await world.letters()).some((letter) => letter.id === id))
      blame("left no dead letter");
  }
  const children = [...world.audit.records.values()].filter((record) => record.task === "child");
  const parents = [...tasks.values()].filter(({ errand: { what } }) => what === "have a child");
  if (children.length !== parents.length) found.push(`${children.length} children of ${parents.length} parents`);
  return found;
}

/** Whether every record there is has come to its end. */
export function isAllOver(world: FlowWorld): boolean {
  return [...world.audit.records.values()].every((record) => isFinal(record.state));
}

/** Text that does not compress, the same each time. */
function noise(length: number): string {
  let [text, seed] = ["", 1];
  while (text.length < length) {
    seed = (Math.imul(seed, 1_103_515_245) + 12_345) >>> 0;
    text += seed.toString(36);
  }
  return text.slice(0, length);
}

function forgiveEnded(error: unknown): void {
  if (!TasklaneError.is(error, "CANCEL_REFUSED")) throw error;
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
