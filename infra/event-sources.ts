import type { Duration } from "aws-cdk-lib";
import { Token } from "aws-cdk-lib";
import type { Grant } from "aws-cdk-lib/aws-iam";
import { CfnFunction, Function as LambdaFunction, RecursiveLoop } from "aws-cdk-lib/aws-lambda";
import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { LANES } from "../lib/task/lane.ts";
import { SQS_BATCH_MAX_ENTRIES } from "../lib/task/limits.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { laneId } from "./lane-queues.ts";
import type { EventSourceOptions } from "./task-queue-props.ts";

/** The most concurrent executions of each lane, where none is given: as the lanes' weights are. */
const DEFAULT_MAX_CONCURRENCY: Readonly<Record<Lane, number>> = { critical: 16, high: 8, normal: 4, low: 2 };
/** https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-scaling.html */
const CONCURRENCY_MIN = 2;
const CONCURRENCY_MAX = 1_000;
/** https://docs.aws.amazon.com/lambda/latest/api/API_CreateEventSourceMapping.html */
const BATCH_MAX = 10_000;
const WINDOW_MAX_SECONDS = 300;

/** Settles the most concurrent executions of each lane. @throws TasklaneError `DEFINITION_INVALID` */
export function settleConcurrency(
  path: string,
  given: number | Partial<Readonly<Record<Lane, number>>> = {},
  fallback: Readonly<Record<Lane, number>> = DEFAULT_MAX_CONCURRENCY,
): Record<Lane, number> {
  const settled = { ...fallback };
  for (const lane of LANES) {
    settled[lane] = typeof given === "number" ? given : (given[lane] ?? fallback[lane]);
    // What only the deploy decides, AWS checks.
    if (Token.isUnresolved(settled[lane])) continue;
    if (Number.isInteger(settled[lane]) && settled[lane] >= CONCURRENCY_MIN && settled[lane] <= CONCURRENCY_MAX)
      continue;
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The maxConcurrency of ${path}, lane ${lane}, is none that an event source can have`,
      received: settled[lane],
      expected: `a whole number from ${CONCURRENCY_MIN} to ${CONCURRENCY_MAX}`,
      fix: "leave the lane out for its default, or leave out lanes to run fewer workers",
    });
  }
  return settled;
}

/** Refuses batches that no event source can have. @throws TasklaneError `OPTION_INVALID` */
export function checkBatches(path: string, { batchSize, maxBatchingWindow }: EventSourceOptions): void {
  const windowSeconds = secondsOf(maxBatchingWindow);
  if (windowSeconds !== undefined && !isWholeNumber(windowSeconds, 0, WINDOW_MAX_SECONDS))
    throw new TasklaneError("OPTION_INVALID", {
      what: `The maxBatchingWindow of ${path} is none that an event source can have`,
      received: `${windowSeconds} s`,
      expected: `whole seconds from 0 to ${WINDOW_MAX_SECONDS}`,
      fix: "leave it out, and no task waits for others",
    });
  if (batchSize === undefined || Token.isUnresolved(batchSize)) return;
  if (!isWholeNumber(batchSize, 1, BATCH_MAX))
    throw new TasklaneError("OPTION_INVALID", {
      what: `The batchSize of ${path} is none that an event source can have`,
      received: batchSize,
      expected: `a whole number from 1 to ${BATCH_MAX}`,
      fix: `leave it out for ${SQS_BATCH_MAX_ENTRIES}`,
    });
  if (batchSize > SQS_BATCH_MAX_ENTRIES && windowSeconds !== undefined && windowSeconds < 1)
    throw new TasklaneError("OPTION_INVALID", {
      what: `${path} asks for batches of more than ${SQS_BATCH_MAX_ENTRIES}, for which Lambda must wait`,
      received: { batchSize, maxBatchingWindow: `${windowSeconds} s` },
      expected: "a maxBatchingWindow of at least 1 s",
      fix: `give maxBatchingWindow: Duration.seconds(1), or a batchSize of at most ${SQS_BATCH_MAX_ENTRIES}`,
    });
}

/** The seconds of a window, none being 0 and one that only the deploy decides being unknown. */
function secondsOf(window: Duration | undefined): number | undefined {
  if (window === undefined) return 0;
  return window.isUnresolved() ? undefined : window.toMilliseconds() / 1_000;
}

function isWholeNumber(value: number, min: number, max: number): boolean {
  return Number.isInteger(value) && value >= min && value <= max;
}

/**
 * Makes a function fit to run tasks: a retry is a message that it sends to the queue which started it, and Lambda takes that for a loop,
 * which it breaks after about 16 turns by sending the message to the dead letters.
 *
 * @throws TasklaneError `OPTION_INVALID` for what is no function of this app
 */
export function allowRecursion(path: string, worker: LambdaFunction): void {
  const resource = worker instanceof LambdaFunction ? worker.node.defaultChild : undefined;
  if (!(resource instanceof CfnFunction))
    throw new TasklaneError("OPTION_INVALID", {
      what: `${worker.node.path} is no function that ${path} could make a worker of`,
      expected: "a Function of this app: no alias, no version, and none that is imported",
      fix: "add the function itself; to one of another app give queue.grants.consume and queue.topology, and an event source there",
    });
  // Where it says "Terminate", synthesis refuses it.
  resource.recursiveLoop ??= RecursiveLoop.ALLOW;
}

/** Lets a function poll a lane. The permission comes first: Lambda refuses an event source whose function may not receive. */
export function addEventSource(
  worker: LambdaFunction,
  { lane, queue }: LaneQueues,
  options: EventSourceOptions & { readonly maxConcurrency: number; readonly grant: Grant },
): void {
  const mapping = worker.addEventSourceMapping(`${laneId(lane)}Of${queue.node.addr.slice(-8)}`, {
    eventSourceArn: queue.queueArn,
    batchSize: options.batchSize ?? SQS_BATCH_MAX_ENTRIES,
    reportBatchItemFailures: true,
    maxConcurrency: options.maxConcurrency,
    ...(options.maxBatchingWindow === undefined ? {} : { maxBatchingWindow: options.maxBatchingWindow }),
  });
  options.grant.applyBefore(mapping);
}
