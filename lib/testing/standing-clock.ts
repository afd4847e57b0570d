import type { TasklaneClient } from "../client.ts";
import type { Clock } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import { systemClock } from "../system.ts";
import type { AnyTask, TaskOutput } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import type { TaskState } from "../task/states.ts";
import { isFinal } from "../task/states.ts";
import type { EnqueuedTask, TaskRef } from "../task/task-ref.ts";

/** Real time, after which a clock that has not moved is not going to: well below the five seconds that test runners give a test. */
const PATIENCE_MS = 3_000;
const LOOK_EVERY_MS = 50;
/** A timer may come late, and on some systems it counts in steps of 16 ms. */
const LOOK_MAX_MS = 2 * LOOK_EVERY_MS;

/** What a wait for a result has to know of its queue. */
export interface StandingQueue {
  readonly clock: Clock;
  /** Whether `drain` or `advance` is under way, in which a handler may do real work for as long as it likes. */
  readonly isDriven: () => boolean;
  readonly hasHandler: (task: string) => boolean;
}

/** Lets waits for a result end where nobody moves the queue's clock: a test would hang, and nothing would say why. */
export function watchResults(client: TasklaneClient, queue: StandingQueue): TasklaneClient {
  const watch = <T extends AnyTask, Ref extends TaskRef<T>>(task: T, ref: Ref): Ref => ({
    ...ref,
    result: (options) => {
      const over = new AbortController();
      const ask = (): Promise<TaskOutput<T>> => ref.result(options);
      const result = Promise.race([ask(), standstill(queue, task, ref, ask, over.signal)]).finally(() => over.abort());
      // Who has not awaited it yet, for the work before it takes long, must not be ended by it.
      result.catch(() => undefined);
      return result;
    },
  });
  return {
    ...client,
    enqueue: async (task, input, options) => watch(task, await client.enqueue(task, input, options)),
    enqueueMany: async (task, entries) =>
      (await client.enqueueMany(task, entries)).map((ref): EnqueuedTask<typeof task> => watch(task, ref)),
    task: (task, id) => watch(task, client.task(task, id)),
  };
}

/**
 * Rejects once the clock has stood still for the patience. A task that came to its end meanwhile is asked for again: whoever waits on a clock
 * that stands would not see it. Nobody waits for this any more once the signal aborts.
 */
async function standstill<Result>(
  queue: StandingQueue,
  task: AnyTask,
  ref: TaskRef,
  ask: () => Promise<Result>,
  over: AbortSignal,
): Promise<Result> {
  let [now, stoodMs] = [Number.NaN, 0];
  let state: TaskState;
  do {
    const before = systemClock.monotonic();
    await sleep(systemClock, LOOK_EVERY_MS, over);
    if (over.aborted) return new Promise(() => undefined);
    ({ state } = await ref.get());
    if (isFinal(state) && !queue.isDriven()) return ask();
    // A process that was busy for long could not have moved the clock meanwhile.
    const tookMs = Math.min(systemClock.monotonic() - before, LOOK_MAX_MS);
    stoodMs = queue.isDriven() || queue.clock.now() !== now ? 0 : stoodMs + tookMs;
    now = queue.clock.now();
  } while (stoodMs < PATIENCE_MS);
  throw new TasklaneError("RESULT_TIMEOUT", {
    what: `The clock of the memory queue stands still, and task "${task.name}" is ${state}`,
    expected: "drain() or advance(), which run tasks and move the clock",
    fix: queue.hasHandler(task.name)
      ? "await queue.drain() before the result, or look at the task's history for what it waits for"
      : `give createMemoryQueue the handler of "${task.name}"`,
  });
}
