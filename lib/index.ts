export type { ClientOptions, TasklaneClient } from "./client.ts";
export { createClient } from "./client.ts";
export type { ConnectOptions, SdkClients } from "./connect.ts";
export type { ListOptions, TaskList } from "./flow/list.ts";
export type { RecoverReport } from "./flow/recover.ts";
export type { Submitter } from "./flow/submitter.ts";
export type { ProvisionOptions } from "./provision.ts";
export { provision } from "./provision.ts";
export type { Scheduler, SchedulerOptions } from "./scheduler.ts";
export { createScheduler } from "./scheduler.ts";
export type { Backoff, BackoffOptions } from "./task/backoff.ts";
export type { TaskContext, TaskLog } from "./task/context.ts";
export type { RateLimit, RateLimitOptions } from "./task/define-rate-limit.ts";
export { defineRateLimit } from "./task/define-rate-limit.ts";
export type {
  AnyTask,
  HandlerFunction,
  TaskDefinition,
  TaskHandler,
  TaskInput,
  TaskOptions,
  TaskOutput,
} from "./task/define-task.ts";
export { defineTask } from "./task/define-task.ts";
export type { Duration } from "./task/duration.ts";
export type { EnqueueFailure, ErrorCode, SchemaIssue } from "./task/errors.ts";
export {
  EnqueueManyError,
  EnqueueUnknownError,
  ERROR_CODES,
  InputInvalidError,
  QueueFullError,
  TasklaneError,
} from "./task/errors.ts";
export type { DeferralReason, EventListener, Gauges, TasklaneEvent, TasklaneEventType } from "./task/events.ts";
export { CancelError, RetryAfterError, SnoozeError, TerminalError } from "./task/handler-errors.ts";
export type { Json } from "./task/json.ts";
export type { Lane } from "./task/lane.ts";
export { LANES } from "./task/lane.ts";
export type { TaskState } from "./task/states.ts";
export type {
  AttemptEntry,
  EnqueuedTask,
  EnqueueEntry,
  EnqueueOptions,
  ResultOptions,
  TaskDetails,
  TaskRef,
} from "./task/task-ref.ts";
export type { Endpoints, LaneTopology, Topology, TopologySpec } from "./task/topology.ts";
export type { Worker, WorkerEnd, WorkerOptions } from "./worker.ts";
export { createWorker } from "./worker.ts";
