import { CfnEventSourceMapping, CfnFunction } from "aws-cdk-lib/aws-lambda";
import type { EventSourceMapping, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import type { Lane } from "../lib/task/lane.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { queueResource } from "./lane-queues.ts";
import type { LaneFacts, QueueFacts, SourceFacts, WorkerFacts } from "./synth-checks.ts";
import type { DeployedTask } from "./task-queue-props.ts";

/** The event sources of each worker function. */
export type WorkerSources = ReadonlyMap<
  LambdaFunction,
  readonly { readonly lane: Lane; readonly mapping: EventSourceMapping }[]
>;

/*
 * Facts are read from the resources and not from the props, so that what was changed on them behind the construct is checked too.
 */

/** SQS's and Lambda's own defaults, where a resource states nothing. */
const DEFAULTS = { visibilitySeconds: 30, retentionSeconds: 345_600, timeoutSeconds: 3, batchSize: 10 } as const;

/** Reads what will be deployed. */
export function readFacts(
  lanes: readonly LaneQueues[],
  sources: WorkerSources,
  tasks: readonly DeployedTask[],
): QueueFacts {
  return {
    lanes: lanes.map(laneFacts),
    workers: [...sources].map(([worker, mappings]): WorkerFacts => {
      const resource = worker.node.defaultChild;
      const reserved = resource instanceof CfnFunction ? resource.reservedConcurrentExecutions : undefined;
      return {
        path: worker.node.path,
        timeoutSeconds: (resource instanceof CfnFunction ? resource.timeout : undefined) ?? DEFAULTS.timeoutSeconds,
        reservedConcurrency: reserved,
        sources: mappings.flatMap(({ lane, mapping }) => sourceFacts(lane, mapping)),
      };
    }),
    tasks,
  };
}

function laneFacts({ lane, queue, deadLetterQueue }: LaneQueues): LaneFacts {
  const resource = queueResource(queue);
  const policy: unknown = resource.redrivePolicy;
  const limit: unknown = typeof policy === "object" && policy !== null ? Reflect.get(policy, "maxReceiveCount") : 0;
  return {
    lane,
    path: queue.node.path,
    visibilitySeconds: resource.visibilityTimeout ?? DEFAULTS.visibilitySeconds,
    retentionSeconds: retentionOf(queue),
    deadLetterRetentionSeconds: retentionOf(deadLetterQueue),
    receiveLimit: typeof limit === "number" ? limit : 0,
  };
}

function retentionOf(queue: Queue): number {
  return queueResource(queue).messageRetentionPeriod ?? DEFAULTS.retentionSeconds;
}

function sourceFacts(lane: Lane, mapping: EventSourceMapping): SourceFacts[] {
  const resource = mapping.node.defaultChild;
  if (!(resource instanceof CfnEventSourceMapping)) return [];
  const scaling: unknown = resource.scalingConfig;
  const max: unknown =
    typeof scaling === "object" && scaling !== null ? Reflect.get(scaling, "maximumConcurrency") : undefined;
  return [
    {
      lane,
      batchSize: resource.batchSize ?? DEFAULTS.batchSize,
      windowSeconds: resource.maximumBatchingWindowInSeconds ?? 0,
      maxConcurrency: typeof max === "number" ? max : undefined,
      hasFilters: resource.filterCriteria !== undefined,
    },
  ];
}
