import type { Grant } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
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

/** Settles the most concurrent executions of each lane. @throws TasklaneError `DEFINITION_INVALID` */
export function settleConcurrency(
  path: string,
  given: number | Partial<Readonly<Record<Lane, number>>> = {},
  fallback: Readonly<Record<Lane, number>> = DEFAULT_MAX_CONCURRENCY,
): Record<Lane, number> {
  const settled = { ...fallback };
  for (const lane of LANES) {
    settled[lane] = typeof given === "number" ? given : (given[lane] ?? fallback[lane]);
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
