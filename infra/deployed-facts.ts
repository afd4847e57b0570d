import { CfnEventSourceMapping, CfnFunction, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import type { IConstruct } from "constructs";
import type { Lane } from "../lib/task/lane.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { queueResource } from "./lane-queues.ts";
import type { LaneFacts, QueueFacts, SourceFacts, WorkerFacts } from "./synth-checks.ts";
import type { DeployedTask } from "./task-queue-props.ts";

/*
 * Facts are read from the resources and not from the props, so that what was changed on them behind the construct is checked too.
 */

/** SQS's and Lambda's own defaults, where a resource states nothing. */
const DEFAULTS = { visibilitySeconds: 30, retentionSeconds: 345_600, timeoutSeconds: 3, batchSize: 10 } as const;

/** Reads what will be deployed: the lanes, and every function of the app that polls one of them. */
export function readFacts(lanes: readonly LaneQueues[], tasks: readonly DeployedTask[]): QueueFacts {
  return { lanes: lanes.map(laneFacts), workers: lanes.flatMap(sourcesOf).reduce(groupByWorker, []), tasks };
}

interface LaneSource {
  readonly worker: IConstruct;
  readonly source: SourceFacts;
}

/** An event source that somebody added by hand is as dangerous as one of ours, so all of the app are looked at. */
function sourcesOf({ lane, queue }: LaneQueues): LaneSource[] {
  return queue.node.root.node
    .findAll()
    .filter((child) => child instanceof CfnEventSourceMapping)
    .filter(({ eventSourceArn }) => eventSourceArn === queue.queueArn)
    .map((mapping) => ({
      worker: mapping.node.scopes.find((scope) => scope instanceof LambdaFunction) ?? mapping,
      source: sourceFacts(lane, mapping),
    }));
}

function groupByWorker(workers: readonly WorkerFacts[], { worker, source }: LaneSource): readonly WorkerFacts[] {
  const { path, defaultChild } = worker.node;
  const known = workers.find((other) => other.path === path);
  if (known !== undefined)
    return workers.map((other) => (other === known ? { ...known, sources: [...known.sources, source] } : other));
  const resource = defaultChild instanceof CfnFunction ? defaultChild : undefined;
  return [
    ...workers,
    {
      path,
      timeoutSeconds: resource?.timeout ?? DEFAULTS.timeoutSeconds,
      reservedConcurrency: resource?.reservedConcurrentExecutions,
      sources: [source],
    },
  ];
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

function sourceFacts(lane: Lane, resource: CfnEventSourceMapping): SourceFacts {
  const scaling: unknown = resource.scalingConfig;
  const max: unknown =
    typeof scaling === "object" && scaling !== null ? Reflect.get(scaling, "maximumConcurrency") : undefined;
  return {
    lane,
    batchSize: resource.batchSize ?? DEFAULTS.batchSize,
    windowSeconds: resource.maximumBatchingWindowInSeconds ?? 0,
    maxConcurrency: typeof max === "number" ? max : undefined,
    hasFilters: resource.filterCriteria !== undefined,
  };
}
