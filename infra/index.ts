export type { ProducerTarget } from "./topology-variable.ts";
export { TaskQueue } from "./task-queue.ts";
export type { LaneQueues } from "./lane-queues.ts";
export type { LaneMetricOptions, TaskMetricOptions } from "./metrics.ts";
export type {
  AddWorkerOptions,
  DeployedTask,
  EventSourceOptions,
  LeftOut,
  TaskQueueProps,
  WorkerProps,
} from "./task-queue-props.ts";
export { TaskQueueGrants } from "./grants.ts";
export { TaskQueueReference } from "./task-queue-reference.ts";
