import type { AnyTask, TaskInput, TaskOutput } from "./define-task.ts";
import type { Duration } from "./duration.ts";
import type { ErrorCode } from "./errors.ts";
import type { Json } from "./json.ts";
import type { Lane } from "./lane.ts";
import type { TaskState } from "./states.ts";

interface CommonEnqueueOptions {
  /** The task becomes `expired` if it has not started by then. A duration counts from now. Default: never. */
  expires?: Duration | Date | undefined;
  /** Overrides the definition's lane. */
  lane?: Lane | undefined;
  /** Overrides the definition's key. */
  idempotencyKey?: string | undefined;
  /** Context for people: at most 2 KB of JSON, shown with the task, never used to run it. */
  meta?: Readonly<Record<string, Json>> | undefined;
  /** W3C trace context to carry to the handler. Default: the active OpenTelemetry span, if its API is installed. */
  traceparent?: string | undefined;
  /** The id of an earlier call that ended in `ENQUEUE_UNKNOWN`. Not together with an idempotency key. */
  id?: string | undefined;
}

/** When and how a task is enqueued. Either `delay` or `runAt`, not both. */
export type EnqueueOptions = CommonEnqueueOptions &
  (
    | {
        /** The least time until the task starts; any length. Default: none. */
        delay?: Duration | undefined;
        runAt?: undefined;
      }
    | {
        /** The earliest time at which the task starts. */
        runAt?: Date | undefined;
        delay?: undefined;
      }
  );

/** One entry of `enqueueMany`. */
export interface EnqueueEntry<T extends AnyTask> {
  input: TaskInput<T>;
  options?: EnqueueOptions | undefined;
}

/** One attempt as the history keeps it. */
export interface AttemptEntry {
  /** From 1. */
  attempt: number;
  /** When it ended, in milliseconds since 1970. */
  at: number;
  /** What it came to. */
  outcome: "retry" | "snooze" | "dead" | "interrupted" | "crash";
  code: ErrorCode | "ERROR";
  message: string;
  stack?: string | undefined;
  runMs?: number | undefined;
  worker?: string | undefined;
}

/** Everything the ledger tells of a task. Times are milliseconds since 1970. */
export interface TaskDetails {
  id: string;
  task: string;
  lane: Lane;
  state: TaskState;
  /** From 1; each redrive starts another. */
  epoch: number;
  /** Handler starts in all epochs. */
  attempts: number;
  failures: number;
  crashes: number;
  snoozes: number;
  interruptions: number;
  createdAt: number;
  /** The earliest next start. */
  notBefore: number;
  startedAt?: number | undefined;
  finishedAt?: number | undefined;
  /** The task expires if it has not started by then. */
  startBy?: number | undefined;
  leaseUntil?: number | undefined;
  /** Somebody asked to cancel it while it ran. */
  cancelRequested?: string | undefined;
  /** Why it is dead or cancelled. */
  reason?: ErrorCode | undefined;
  /** The reason in words. */
  message?: string | undefined;
  progress?: Json | undefined;
  meta?: Readonly<Record<string, Json>> | undefined;
  /** W3C trace context of the producer. */
  traceparent?: string | undefined;
  /** The last ten attempts that did not succeed, oldest first; only `get()` reads them. */
  history?: readonly AttemptEntry[] | undefined;
}

/** How long to wait for a result. */
export interface ResultOptions {
  /** Default `"60s"`; then `RESULT_TIMEOUT`, and the task goes on. */
  timeout?: Duration | undefined;
  /** Ends the wait early. */
  signal?: AbortSignal | undefined;
}

/** A handle on a task by its id. Making one does no I/O. */
export interface TaskRef<T extends AnyTask = AnyTask> {
  readonly id: string;
  /** @throws TasklaneError `TASK_NOT_FOUND` */
  get(): Promise<TaskDetails>;
  /** Waits for the final state. @throws TasklaneError `TASK_DEAD`, `TASK_CANCELLED`, `TASK_EXPIRED`, `RESULT_TIMEOUT`, `TASK_NOT_FOUND`, `OPTION_INVALID` */
  result(options?: ResultOptions): Promise<TaskOutput<T>>;
  /** Ends a queued task at once; asks a running one to stop, which it sees when its lease is next renewed. @throws TasklaneError `CANCEL_REFUSED` */
  cancel(reason?: string): Promise<TaskState>;
  /** Gives a dead task another epoch, with other input if any. @throws TasklaneError `REDRIVE_REFUSED` */
  redrive(options?: { input?: TaskInput<T> | undefined }): Promise<void>;
}

/** A task that was accepted, or found to be there already. */
export interface EnqueuedTask<T extends AnyTask = AnyTask> extends TaskRef<T> {
  /** It was there already: same key, same input. */
  readonly duplicate: boolean;
  /** As of the call. */
  readonly state: TaskState;
}
