import type { ErrorCode } from "./errors.ts";
import type { Lane } from "./lane.ts";
import type { Outcome } from "./outcome.ts";

/** Which task an event is about. */
export interface TaskMark {
  readonly taskId: string;
  readonly task: string;
  readonly lane: Lane;
}

/** What a run of the scheduler measured. */
export interface Gauges {
  /** Dead tasks that nobody has redriven, up to 1,000. Eventually consistent, and those whose time is over count until the store removes them. */
  readonly deadTasks: number;
  /** Milliseconds until the oldest dead task's record may be forgotten. Absent if there is none. */
  readonly deadTaskTimeLeftMs?: number | undefined;
  /** Milliseconds by which the oldest owed task was overdue when the run came to it; 0 if there was none. Up to a minute is usual. */
  readonly oldestOwedMs: number;
  /** Messages in each deployed lane, delayed ones and those in flight included. Approximate. */
  readonly backlog: Readonly<Partial<Record<Lane, number>>>;
}

/** Why a task was put back without an attempt. */
export type DeferralReason =
  | "rate-limit"
  | "unknown-task"
  | "unknown-version"
  | "unknown-schema"
  | "suspect"
  /** It came with more messages than there were slots. */
  | "busy"
  | "unavailable";

/** What happened, for metrics, logs and tests. `at` is milliseconds since 1970. No event carries a payload or a result. */
export type TasklaneEvent = { readonly at: number } & (
  | ({ readonly type: "enqueued"; readonly duplicate: boolean } & TaskMark)
  /** The record is written but the message was not sent: the scheduler owes it. */
  | ({ readonly type: "send-owed"; readonly error: string } & TaskMark)
  | { readonly type: "backlog-warning"; readonly lane: Lane; readonly backlog: number; readonly maxBacklog: number }
  | { readonly type: "depth-unknown"; readonly lane: Lane; readonly error: string }
  | ({ readonly type: "attempt-started"; readonly attempt: number; readonly waitMs: number } & TaskMark)
  | ({
      readonly type: "attempt-ended";
      readonly attempt: number;
      /** `lost`: another worker had taken over, so nothing was written. */
      readonly outcome: Outcome["kind"] | "lost";
      readonly runMs: number;
      readonly code?: ErrorCode | "ERROR" | undefined;
      readonly error?: string | undefined;
      readonly retryInMs?: number | undefined;
    } & TaskMark)
  | ({ readonly type: "deferred"; readonly reason: DeferralReason; readonly delayMs: number } & TaskMark)
  | ({ readonly type: "dead"; readonly reason: ErrorCode; readonly message: string } & TaskMark)
  | ({ readonly type: "crash-detected"; readonly crashes: number } & TaskMark)
  | ({ readonly type: "lease-lost"; readonly attempt: number } & TaskMark)
  /** A copy of a message whose task is running, done or gone. */
  | ({
      readonly type: "copy-dropped";
      readonly because: "running" | "final" | "no-record" | "same-batch" | "stale-letter";
    } & TaskMark)
  | ({ readonly type: "resent"; readonly because: "owed" | "lost" | "retention"; readonly resends: number } & TaskMark)
  | ({ readonly type: "redriven"; readonly epoch: number } & TaskMark)
  | { readonly type: "settle-delayed"; readonly taskId: string; readonly error: string }
  /** A defect of our own: the message it befell is shown again, and nothing is lost. */
  | { readonly type: "internal-error"; readonly error: string }
  /** An attempt is missing from the history; its outcome is not touched by that. */
  | { readonly type: "history-lost"; readonly taskId: string; readonly error: string }
  | { readonly type: "poll-failed"; readonly lane: Lane; readonly error: string }
  | { readonly type: "handler-abandoned"; readonly taskId: string; readonly task: string }
  | {
      readonly type: "scheduler-ran";
      readonly owed: number;
      readonly resent: number;
      readonly visited: number;
      readonly buried: number;
      /** Steps that failed: the next run tries again. */
      readonly failures: number;
      /** What the run measured; absent if it could not. */
      readonly gauges?: Gauges | undefined;
    }
  | { readonly type: "scheduler-failed"; readonly error: string }
  /** A minute's counters were not written, or not for sure: they go along with the next. */
  | { readonly type: "counters-failed"; readonly error: string }
  | { readonly type: "worker-started"; readonly lanes: readonly Lane[]; readonly concurrency: number }
  | { readonly type: "worker-stopped"; readonly reason: "signal" | "drained"; readonly interrupted: number }
);

/** The name of an event. */
export type TasklaneEventType = TasklaneEvent["type"];

/** Receives events. What it throws is ignored: nobody's metrics may lose a task. */
export type EventListener = (event: TasklaneEvent) => void;
