import { Duration } from "aws-cdk-lib";
import type { IMetric, MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import { MathExpression, Metric, Stats } from "aws-cdk-lib/aws-cloudwatch";
import type { Lane } from "../lib/task/lane.ts";
import type { GaugeMetric, TaskMetric } from "../lib/task/metrics.ts";
import { METRIC_NAMESPACE, QUEUE_DIMENSION, TASK_DIMENSION } from "../lib/task/metrics.ts";

/** A metric's options, and the task that it is about. */
export interface TaskMetricOptions extends MetricOptions {
  /** The name of a task. @default all tasks of the queue together */
  readonly task?: string | undefined;
}

/** A metric's options, and the lane that it is about. */
export interface LaneMetricOptions extends MetricOptions {
  /** @default "normal" */
  readonly lane?: Lane | undefined;
}

const PERIOD: Duration = Duration.minutes(5);

/** A metric that workers or the scheduler write. Missing before the first of its kind. */
export function tasklaneMetric(
  queueName: string,
  metricName: TaskMetric | GaugeMetric,
  options: TaskMetricOptions = {},
): Metric {
  const { task, ...rest } = options;
  return new Metric({
    period: PERIOD,
    ...rest,
    namespace: METRIC_NAMESPACE,
    metricName,
    dimensionsMap: {
      [QUEUE_DIMENSION]: queueName,
      ...(task === undefined ? {} : { [TASK_DIMENSION]: task }),
      ...rest.dimensionsMap,
    },
  });
}

/** The metrics that SQS has of a queue. */
export type SqsMetric =
  | "ApproximateAgeOfOldestMessage"
  | "ApproximateNumberOfMessagesDelayed"
  | "ApproximateNumberOfMessagesNotVisible"
  | "ApproximateNumberOfMessagesVisible"
  | "NumberOfMessagesDeleted"
  | "NumberOfMessagesSent";

/** A metric that SQS has of a queue by its name, at no cost; missing while a queue has been idle for six hours. */
export function sqsMetric(queueName: string, metricName: SqsMetric, options: MetricOptions = {}): Metric {
  return new Metric({
    period: PERIOD,
    statistic: Stats.MAXIMUM,
    ...options,
    namespace: "AWS/SQS",
    metricName,
    dimensionsMap: { QueueName: queueName },
  });
}

/** Everything that a lane holds, as `maxBacklog` counts it: waiting, delayed and in flight. */
export function backlogMetric(lane: Lane, queueName: string, options: MetricOptions = {}): IMetric {
  const { label = `backlog of ${lane}`, color, period = PERIOD, ...rest } = options;
  const part = (metricName: SqsMetric): Metric => sqsMetric(queueName, metricName, { ...rest, period });
  // The lane is in the ids, since those of one graph or alarm must differ.
  return new MathExpression({
    expression: `${lane}Waiting + ${lane}Delayed + ${lane}InFlight`,
    label,
    period,
    ...(color === undefined ? {} : { color }),
    usingMetrics: {
      [`${lane}Waiting`]: part("ApproximateNumberOfMessagesVisible"),
      [`${lane}Delayed`]: part("ApproximateNumberOfMessagesDelayed"),
      [`${lane}InFlight`]: part("ApproximateNumberOfMessagesNotVisible"),
    },
  });
}
