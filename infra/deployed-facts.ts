import { Token } from "aws-cdk-lib";
import type { CfnFunction } from "aws-cdk-lib/aws-lambda";
import { CfnEventSourceMapping, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import type { IConstruct } from "constructs";
import type { Lane } from "../lib/task/lane.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { queueResource } from "./lane-queues.ts";
import { functionBehind, referencesOf } from "./references.ts";
import type { LaneFacts, QueueFacts, SourceFacts, WorkerFacts } from "./synth-checks.ts";
import type { DeployedTask } from "./task-queue-props.ts";
import { queueServedBy } from "./topology-variable.ts";

/*
 * Facts are read from the resources and not from the props, so that what was changed on them behind the construct is checked too.
 */

/** SQS's and Lambda's own defaults, where a resource states nothing. */
const DEFAULTS = { visibilitySeconds: 30, retentionSeconds: 345_600, timeoutSeconds: 3, batchSize: 10 } as const;

/** Reads what will be deployed: the lanes, and every function of the app that polls one of them. */
export function readFacts(queueName: string, lanes: readonly LaneQueues[], tasks: readonly DeployedTask[]): QueueFacts {
  const workers = lanes.flatMap(sourcesOf).reduce<readonly WorkerFacts[]>(groupByWorker, []);
  return { queueName, lanes: lanes.map(laneFacts), workers, tasks };
}

interface LaneSource {
  readonly mapping: CfnEventSourceMapping;
  readonly source: SourceFacts;
}

/** An event source that somebody added by hand is as dangerous as one of ours, so all of the app are looked at. */
function sourcesOf({ lane, queue }: LaneQueues): LaneSource[] {
  const resource = queueResource(queue);
  return queue.node.root.node
    .findAll()
    .filter((child) => child instanceof CfnEventSourceMapping)
    .filter((mapping) => referencesOf(mapping.eventSourceArn, mapping).has(resource))
    .map((mapping) => ({ mapping, source: sourceFacts(lane, mapping) }));
}

function groupByWorker(workers: readonly WorkerFacts[], { mapping, source }: LaneSource): readonly WorkerFacts[] {
  const resource = functionBehind(mapping.functionName, mapping);
  const path = pathOf(resource ?? mapping);
  const known = workers.find((other) => other.path === path);
  if (known !== undefined)
    return workers.map((other) => (other === known ? { ...known, sources: [...known.sources, source] } : other));
  return [...workers, { path, sources: [source], ...(resource === undefined ? {} : functionFacts(resource)) }];
}

function functionFacts(resource: CfnFunction): Omit<WorkerFacts, "path" | "sources"> {
  const { scope } = resource.node;
  return {
    timeoutSeconds: known(resource.timeout ?? DEFAULTS.timeoutSeconds),
    reservedConcurrency: known(resource.reservedConcurrentExecutions),
    recursiveLoop: Token.isUnresolved(resource.recursiveLoop) ? undefined : (resource.recursiveLoop ?? "Terminate"),
    servedQueue: scope instanceof LambdaFunction ? queueServedBy(scope) : undefined,
  };
}

/** The path of what was written down, rather than that of the resource inside. */
function pathOf(resource: IConstruct): string {
  const { scope, path } = resource.node;
  return scope?.node.defaultChild === resource ? scope.node.path : path;
}

/** What only the deploy decides is not known. */
function known(value: unknown): number | undefined {
  return typeof value === "number" && !Token.isUnresolved(value) ? value : undefined;
}

function laneFacts({ lane, queue, deadLetterQueue }: LaneQueues): LaneFacts {
  const resource = queueResource(queue);
  return {
    lane,
    path: queue.node.path,
    visibilitySeconds: known(resource.visibilityTimeout ?? DEFAULTS.visibilitySeconds),
    retentionSeconds: retentionOf(queue),
    deadLetterRetentionSeconds: retentionOf(deadLetterQueue),
    receiveLimit: known(partOf(resource.redrivePolicy, "maxReceiveCount")),
  };
}

function retentionOf(queue: Queue): number | undefined {
  return known(queueResource(queue).messageRetentionPeriod ?? DEFAULTS.retentionSeconds);
}

function sourceFacts(lane: Lane, resource: CfnEventSourceMapping): SourceFacts {
  const { scalingConfig, functionResponseTypes } = resource;
  const max = partOf(scalingConfig, "maximumConcurrency");
  return {
    lane,
    batchSize: known(resource.batchSize ?? DEFAULTS.batchSize),
    windowSeconds: known(resource.maximumBatchingWindowInSeconds ?? 0),
    hasMaxConcurrency: max !== undefined || Token.isUnresolved(scalingConfig),
    maxConcurrency: known(max),
    hasFilters: resource.filterCriteria !== undefined,
    reportsFailures:
      Token.isUnresolved(functionResponseTypes) || functionResponseTypes?.includes("ReportBatchItemFailures") === true,
  };
}

function partOf(value: unknown, name: string): unknown {
  return typeof value === "object" && value !== null ? Reflect.get(value, name) : undefined;
}
