import { Annotations, Duration } from "aws-cdk-lib";
import type { IMetric } from "aws-cdk-lib/aws-cloudwatch";
import { Alarm, ComparisonOperator, Stats, TreatMissingData } from "aws-cdk-lib/aws-cloudwatch";
import { SnsAction } from "aws-cdk-lib/aws-cloudwatch-actions";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { ITopic } from "aws-cdk-lib/aws-sns";
import type { Construct } from "constructs";
import { formatDuration } from "../lib/task/duration.ts";
import type { Lane } from "../lib/task/lane.ts";
import { BACKLOG_WARNING_RATIO } from "../lib/task/limits.ts";
import { laneId } from "./lane-queues.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { sqsMetric } from "./metrics.ts";
import type { TaskQueueReference } from "./task-queue-reference.ts";

/** What alarms are about. */
export interface AlarmsOptions {
  readonly lanes: readonly LaneQueues[];
  readonly maxBacklog: Readonly<Record<Lane, number>>;
  /** Without it a lane's backlog is what waits, without what is delayed or in flight. */
  readonly metricMath: boolean;
  readonly topic?: ITopic | undefined;
}

/** SQS's limit of messages in flight, at which a long poll answers nothing. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html */
const IN_FLIGHT_MAX = 120_000;
/** A message's age counts its delay, up to 15 minutes, so an alarm must be later than that. */
const AGE_MAX_SECONDS: Readonly<Record<Lane, number>> = { critical: 1_200, high: 1_800, normal: 3_600, low: 21_600 };
/** Time to redrive a dead task before its record may be forgotten. */
const DEAD_TIME_LEFT_MIN_SECONDS = 259_200;
/** The scheduler sends what is owed each minute. */
const OVERDUE_MAX_SECONDS = 900;

const PERIOD: Duration = Duration.minutes(5);

interface AlarmSpec {
  readonly id: string;
  readonly metric: IMetric;
  readonly threshold: number;
  /** What it means and what to do. */
  readonly text: string;
  readonly below?: boolean;
  readonly periods?: number;
  /** Default: no data is no trouble. */
  readonly missing?: TreatMissingData;
}

/** Adds the alarms of a queue and its lanes. Each description says what it means and what to do. */
export function addAlarms(queue: TaskQueueReference, options: AlarmsOptions): void {
  const specs = [...queueAlarms(queue), ...options.lanes.flatMap((lane) => laneAlarms(queue, lane, options))];
  for (const spec of specs) addAlarm(queue, queue, spec, options.topic);
  if (options.topic === undefined)
    Annotations.of(queue).addWarningV2(
      "tasklane:alarmTopic",
      `The alarms of ${queue.node.path} tell nobody. Give it an alarmTopic, or leave them out with without: ["alarms"].`,
    );
}

/** Adds the alarms of a worker: under the queue for one that it made, else under the function, whose stack depends on the queue's already. */
export function addWorkerAlarms(
  queue: TaskQueueReference,
  worker: LambdaFunction,
  { isOwn, topic }: { readonly isOwn: boolean; readonly topic?: ITopic | undefined },
): void {
  const [scope, id, name] = isOwn ? [queue, worker.node.id, worker.node.id] : [worker, "Tasklane", worker.node.path];
  for (const spec of workerAlarms(worker, id, name)) addAlarm(queue, scope, spec, topic);
}

function addAlarm(queue: TaskQueueReference, scope: Construct, spec: AlarmSpec, topic: ITopic | undefined): void {
  const { id, metric, threshold, text, below = false, periods = 1, missing } = spec;
  const alarm = new Alarm(scope, `${id}Alarm`, {
    metric,
    threshold,
    comparisonOperator: below
      ? ComparisonOperator.LESS_THAN_THRESHOLD
      : ComparisonOperator.GREATER_THAN_OR_EQUAL_TO_THRESHOLD,
    evaluationPeriods: periods,
    treatMissingData: missing ?? TreatMissingData.NOT_BREACHING,
    alarmDescription: `Tasklane queue "${queue.queueName}": ${text}`,
  });
  if (topic !== undefined) alarm.addAlarmAction(new SnsAction(topic));
}

function queueAlarms(queue: TaskQueueReference): AlarmSpec[] {
  return [
    {
      id: "DeadTasks",
      metric: queue.metricDeadTasks({ period: PERIOD }),
      threshold: 1,
      text: "tasks are dead and nobody has redriven them. Look at them with client.list({ state: 'dead' }), mend the cause, redrive.",
    },
    {
      id: "DeadTaskTimeLeft",
      metric: queue.metricDeadTaskTimeLeft({ period: PERIOD }),
      threshold: DEAD_TIME_LEFT_MIN_SECONDS,
      below: true,
      text: `the oldest dead task is forgotten in less than ${formatDuration(DEAD_TIME_LEFT_MIN_SECONDS * 1_000)}. Redrive it, or let it go.`,
    },
    {
      id: "OldestTask",
      metric: queue.metricOldestTaskAge({ period: PERIOD }),
      threshold: OVERDUE_MAX_SECONDS,
      periods: 2,
      text: `a task is overdue by ${formatDuration(OVERDUE_MAX_SECONDS * 1_000)} and was not sent. The scheduler does not keep up, or fails: read its log.`,
    },
    {
      id: "SchedulerSilent",
      // The gauges come at the end of a run, so they also tell of a scheduler that starts and fails.
      metric: queue.metricDeadTasks({ period: PERIOD, statistic: Stats.SAMPLE_COUNT }),
      threshold: 1,
      below: true,
      periods: 2,
      missing: TreatMissingData.BREACHING,
      text: "the scheduler has not finished a run for ten minutes: delayed and lost tasks are not sent. Read its log, and look at the rule that starts it.",
    },
  ];
}

function laneAlarms(queue: TaskQueueReference, lane: LaneQueues, options: AlarmsOptions): AlarmSpec[] {
  const name = lane.lane;
  const id = laneId(name);
  const { queueName } = lane.queue;
  const limit = options.maxBacklog[name];
  return [
    {
      id: `${id}DeadLetters`,
      metric: sqsMetric(lane.deadLetterQueue.queueName, "ApproximateNumberOfMessagesVisible", { period: PERIOD }),
      threshold: 1,
      text: `the dead letter queue of lane ${name} is not empty. Each message is a dead task, or was never one of ours; the scheduler records the latter within minutes.`,
    },
    {
      id: `${id}Backlog`,
      metric: options.metricMath
        ? queue.metricBacklog({ lane: name, period: PERIOD })
        : sqsMetric(queueName, "ApproximateNumberOfMessagesVisible", { period: PERIOD }),
      threshold: Math.ceil(limit * BACKLOG_WARNING_RATIO),
      text: `lane ${name} is at ${BACKLOG_WARNING_RATIO * 100} % of its maxBacklog of ${limit}, at which enqueue is refused. Add workers, or raise it.`,
    },
    {
      id: `${id}Age`,
      metric: queue.metricOldestMessageAge({ lane: name, period: PERIOD }),
      threshold: AGE_MAX_SECONDS[name],
      periods: 2,
      text: `a task of lane ${name} has waited for ${formatDuration(AGE_MAX_SECONDS[name] * 1_000)}. Workers fail, are throttled, or are too few: look at their errors and concurrency.`,
    },
    {
      id: `${id}InFlight`,
      metric: sqsMetric(queueName, "ApproximateNumberOfMessagesNotVisible", { period: PERIOD }),
      threshold: IN_FLIGHT_MAX / 2,
      text: `lane ${name} has half of the ${IN_FLIGHT_MAX} messages in flight that SQS allows; at the limit workers receive nothing.`,
    },
  ];
}

function workerAlarms(worker: LambdaFunction, id: string, name: string): AlarmSpec[] {
  return [
    {
      id: `${id}Errors`,
      metric: worker.metricErrors({ period: PERIOD }),
      threshold: 1,
      periods: 2,
      text: `${name} times out or crashes, which a task that fails does not make it do. Its tasks come back after the visibility timeout: read its log.`,
    },
    {
      id: `${id}Throttles`,
      metric: worker.metricThrottles({ period: PERIOD }),
      threshold: 1,
      periods: 3,
      text: `${name} is throttled: the account's concurrency is used up. Raise that quota, or lower maxConcurrency.`,
    },
  ];
}
