/*
 * The names of Tasklane's own CloudWatch metrics, in one place: functions write them, alarms and dashboards read them.
 */

/** The CloudWatch namespace of every metric that functions write. */
export const METRIC_NAMESPACE = "Tasklane";

/**
 * What functions count. Each has the dimension `Queue` alone, and `Queue` with `Task`; never a task id, since CloudWatch bills each
 * combination. `Unit` is CloudWatch's.
 */
export const TASK_METRICS = {
  Succeeded: { unit: "Count", help: "attempts whose result was committed" },
  Failed: { unit: "Count", help: "attempts that failed, retried or not" },
  DeadLettered: { unit: "Count", help: "tasks that became dead" },
  Deferred: { unit: "Count", help: "messages put back without an attempt" },
  RunTime: { unit: "Milliseconds", help: "how long attempts took" },
  WaitTime: { unit: "Milliseconds", help: "from the time a task may run to the start of the attempt" },
} as const;

/** What the scheduler measures each minute. Each has the dimension `Queue` alone. */
export const GAUGE_METRICS = {
  DeadTasks: { unit: "Count", help: "dead tasks that nobody has redriven yet; counted up to 1,000" },
  DeadTaskTimeLeft: { unit: "Seconds", help: "until the oldest dead task's record may be forgotten" },
  OldestTaskAge: { unit: "Seconds", help: "how long the oldest owed task is overdue" },
} as const;

/** A metric that functions count for each task. */
export type TaskMetric = keyof typeof TASK_METRICS;

/** A metric that the scheduler measures. */
export type GaugeMetric = keyof typeof GAUGE_METRICS;

/** The one dimension that every metric has. */
export const QUEUE_DIMENSION = "Queue";

/** The dimension that splits a metric by task. */
export const TASK_DIMENSION = "Task";
