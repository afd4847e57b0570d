import { Token } from "aws-cdk-lib";
import { TasklaneError } from "../lib/task/errors.ts";
import { checkOptions } from "../lib/task/known-options.ts";
import type { Lane } from "../lib/task/lane.ts";
import { isLane, LANES } from "../lib/task/lane.ts";
import type { AddWorkerOptions, DeployedTask, LeftOut, TaskQueueProps } from "./task-queue-props.ts";

/*
 * Types say what may be given where they are checked; where Node strips them, a typo would deploy without what was asked for.
 */

/** All of them, which the compiler sees to. */
const QUEUE_PROPS: Readonly<Record<keyof TaskQueueProps, true>> = {
  queueName: true,
  workerEntry: true,
  workerProps: true,
  lanes: true,
  maxConcurrency: true,
  maxBacklog: true,
  encryptionKey: true,
  alarmTopic: true,
  removalPolicy: true,
  warmThroughput: true,
  visibilityTimeout: true,
  logRetention: true,
  tasks: true,
  without: true,
};

const WORKER_OPTIONS: Readonly<Record<keyof AddWorkerOptions, true>> = {
  lanes: true,
  maxConcurrency: true,
  batchSize: true,
  maxBatchingWindow: true,
};

const LEFT_OUT: Readonly<Record<LeftOut, true>> = {
  alarms: true,
  autoDeleteObjects: true,
  dashboard: true,
  metricMath: true,
  pointInTimeRecovery: true,
};

/** Refuses settings that nobody reads, and values of which nothing can be made. @throws TasklaneError `OPTION_INVALID` */
export function checkQueueProps(path: string, props: TaskQueueProps): void {
  checkOptions(props, Object.keys(QUEUE_PROPS), "OPTION_INVALID", `TaskQueue ${path}`);
  checkPerLane(`the maxConcurrency of ${path}`, props.maxConcurrency);
  checkPerLane(`the maxBacklog of ${path}`, props.maxBacklog);
  for (const limit of valuesOf(props.maxBacklog))
    if (Token.isUnresolved(limit))
      throw new TasklaneError("OPTION_INVALID", {
        what: `The maxBacklog of ${path} is known to the deploy alone, and alarms and producers need it before`,
        expected: "a number",
        fix: "take it from context or from the environment of the synthesis, not from a CloudFormation parameter",
      });
  checkDuration(`visibilityTimeout of ${path}`, props.visibilityTimeout);
  checkDuration(`workerProps.timeout of ${path}`, props.workerProps?.timeout);
  checkDuration(`workerProps.maxBatchingWindow of ${path}`, props.workerProps?.maxBatchingWindow);
  if (props.alarmTopic !== undefined && typeof Reflect.get(Object(props.alarmTopic), "topicArn") !== "string")
    throw new TasklaneError("OPTION_INVALID", {
      what: `The alarmTopic of ${path} is no topic, so its alarms would tell nobody`,
      received: props.alarmTopic,
      expected: "a topic of aws-cdk-lib/aws-sns",
      fix: 'Topic.fromTopicArn(this, "Alarms", "arn:aws:sns:…")',
    });
  for (const part of props.without ?? [])
    if (!Object.hasOwn(LEFT_OUT, part))
      throw new TasklaneError("OPTION_INVALID", {
        what: `${path} has no such part to leave out`,
        received: part,
        expected: Object.keys(LEFT_OUT).join(", "),
        fix: "correct its name in without",
      });
  for (const task of props.tasks ?? []) checkTask(path, task);
}

/** Refuses what cannot be asked of a worker. @throws TasklaneError `OPTION_INVALID` */
export function checkWorkerOptions(path: string, options: AddWorkerOptions): void {
  checkOptions(options, Object.keys(WORKER_OPTIONS), "OPTION_INVALID", `addWorker of ${path}`);
  checkPerLane(`the maxConcurrency of ${path}`, options.maxConcurrency);
  checkDuration(`maxBatchingWindow of ${path}`, options.maxBatchingWindow);
  const { lanes } = options;
  if (lanes === undefined || (lanes.length > 0 && new Set(lanes).size === lanes.length)) return;
  throw new TasklaneError("OPTION_INVALID", {
    what: lanes.length === 0 ? `${path} is to serve no lane` : `${path} is to serve a lane twice`,
    received: lanes,
    expected: "each lane once, at least one",
    fix: "leave lanes out for all that are deployed",
  });
}

/** The CDK has a class for times, where everything else of ours takes texts. */
function checkDuration(what: string, given: unknown): void {
  if (given === undefined || typeof Reflect.get(Object(given), "toSeconds") === "function") return;
  throw new TasklaneError("OPTION_INVALID", {
    what: `The ${what} is no Duration of aws-cdk-lib`,
    received: given,
    expected: "as in Duration.seconds(60)",
    fix: 'import { Duration } from "aws-cdk-lib"',
  });
}

function checkPerLane(what: string, given: number | Partial<Readonly<Record<Lane, number>>> | undefined): void {
  if (typeof given === "object") checkOptions(given, LANES, "OPTION_INVALID", what);
}

function valuesOf(given: number | Partial<Readonly<Record<Lane, number>>> = {}): readonly (number | undefined)[] {
  return typeof given === "number" ? [given] : Object.values(given);
}

/** Anything might be given; a task without a timeout would pass the check that it is given for. */
function checkTask(path: string, task: unknown): void {
  if (isDeployedTask(task)) return;
  throw new TasklaneError("OPTION_INVALID", {
    what: `The tasks of ${path} hold what is no task definition`,
    received: task,
    expected: "what defineTask returns: at least { name, timeoutMs }",
    fix: "give the definitions themselves, not their names or handlers",
  });
}

function isDeployedTask(task: unknown): task is DeployedTask {
  if (typeof task !== "object" || task === null || !("name" in task) || !("timeoutMs" in task)) return false;
  const lane: unknown = Reflect.get(task, "lane");
  return (
    typeof task.name === "string" &&
    typeof task.timeoutMs === "number" &&
    task.timeoutMs > 0 &&
    (lane === undefined || isLane(lane))
  );
}
