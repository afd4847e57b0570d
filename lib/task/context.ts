import type { AnyTask, TaskInput } from "./define-task.ts";
import type { Json } from "./json.ts";
import type { EnqueuedTask, EnqueueOptions } from "./task-ref.ts";

/** A place for log lines; each carries the task's id, name and attempt. */
export interface TaskLog {
  debug(message: string, fields?: Readonly<Record<string, Json>>): void;
  info(message: string, fields?: Readonly<Record<string, Json>>): void;
  warn(message: string, fields?: Readonly<Record<string, Json>>): void;
  error(message: string, fields?: Readonly<Record<string, Json>>): void;
}

/** What a handler knows of its attempt. */
export interface TaskContext {
  readonly taskId: string;
  readonly task: string;
  /** From 1; each start counts, after a failure, a crash or a snooze alike. */
  readonly attempt: number;
  /** Only grows from one start to the next: let a store of your own refuse a write with a lower one. */
  readonly fence: number;
  /** The same on every attempt of this task, after a redrive too: hand it to services that know idempotency keys. */
  readonly idempotencyKey: string;
  /** Aborts at the timeout, on a shutdown, when the task is cancelled, and when the lease is lost. Its `reason` is a `TasklaneError`. */
  readonly signal: AbortSignal;
  /** W3C trace context of the producer, if it had one. */
  readonly traceparent: string | undefined;
  readonly log: TaskLog;
  /** Shows how far the attempt is; at most one write a second, the last value wins. Never throws. */
  progress(value: Json): Promise<void>;
  /** Enqueues another task. Without a key of its own the child is made once per parent, even if the parent runs again. */
  enqueue<T extends AnyTask>(task: T, input: NoInfer<TaskInput<T>>, options?: EnqueueOptions): Promise<EnqueuedTask<T>>;
}
