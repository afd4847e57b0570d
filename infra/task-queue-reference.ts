import { Stack, Token } from "aws-cdk-lib";
import type { IMetric, Metric, MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import { Stats } from "aws-cdk-lib/aws-cloudwatch";
import type { Grant } from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { LANES } from "../lib/task/lane.ts";
import { DEFAULT_MAX_BACKLOG } from "../lib/task/limits.ts";
import type { GaugeMetric, TaskMetric } from "../lib/task/metrics.ts";
import type { LaneTopology, Topology } from "../lib/task/topology.ts";
import type { TaskQueueGrants } from "./grants.ts";
import type { LaneMetricOptions, TaskMetricOptions } from "./metrics.ts";
import { backlogMetric, sqsMetric, tasklaneMetric } from "./metrics.ts";
import type { ProducerTarget } from "./topology-variable.ts";
import { setTopologyVariable } from "./topology-variable.ts";

/** What can be done with a queue, whether it is made in this app or elsewhere. */
export abstract class TaskQueueReference extends Construct {
  /** The name in envelopes and metrics. */
  abstract readonly queueName: string;
  /** Permissions, without anything else. */
  abstract readonly grants: TaskQueueGrants;
  /** Queue URLs, table and bucket; values that the deploy decides are tokens. */
  protected abstract readonly parts: Topology;
  /** The names that SQS knows the lanes' queues by, for metrics. */
  protected abstract readonly sqsNames: Partial<Readonly<Record<Lane, string>>>;
  /** Where the queue's metrics are, if not where they are shown. */
  protected readonly metricPlace: Pick<MetricOptions, "region"> = {};

  /** The topology as JSON, for what runs outside of this app; worth up to a kilobyte, as it names dead letter queues too. */
  get topology(): string {
    return Stack.of(this).toJsonString(this.parts);
  }

  /**
   * Lets a function or a container enqueue: it gets the permission, and the topology in `TASKLANE_TOPOLOGY`. A second queue's goes
   * to `TASKLANE_TOPOLOGY_<QUEUE>`, for `createClient({ queue })`.
   *
   * A producer that also asks for results needs {@link TaskQueueGrants.read}.
   */
  addProducer(target: ProducerTarget): Grant {
    const { region } = Stack.of(target);
    setTopologyVariable(target, this.queueName, Stack.of(target).toJsonString(forProducers(this.parts, region)));
    return this.grants.enqueue("taskDefinition" in target ? target.taskDefinition.taskRole : target);
  }

  /** A metric that workers or the scheduler write: see the list in docs/observability.md. @default the sum over 5 minutes */
  metric(name: TaskMetric | GaugeMetric, options: TaskMetricOptions = {}): Metric {
    return tasklaneMetric(this.queueName, name, { statistic: Stats.SUM, ...this.metricPlace, ...options });
  }

  /** What a lane holds, as `maxBacklog` counts it. */
  metricBacklog(options: LaneMetricOptions = {}): IMetric {
    const { lane, name, rest } = this.#split(options);
    return backlogMetric(lane, name, rest);
  }

  /** How long a lane's oldest message has been there, in seconds. SQS leaves out what was received three times. */
  metricOldestMessageAge(options: LaneMetricOptions = {}): Metric {
    const { name, rest } = this.#split(options);
    return sqsMetric(name, "ApproximateAgeOfOldestMessage", rest);
  }

  /** How long the oldest owed task is overdue, in seconds, by the ledger. */
  metricOldestTaskAge(options: MetricOptions = {}): Metric {
    return this.metric("OldestTaskAge", { statistic: Stats.MAXIMUM, ...options });
  }

  /** Attempts whose result was committed. */
  metricSucceeded(options: TaskMetricOptions = {}): Metric {
    return this.metric("Succeeded", options);
  }

  /** Attempts that failed, retried or not. */
  metricFailures(options: TaskMetricOptions = {}): Metric {
    return this.metric("Failed", options);
  }

  /** Tasks that became dead. */
  metricDeadLettered(options: TaskMetricOptions = {}): Metric {
    return this.metric("DeadLettered", options);
  }

  /** Messages that were put back without an attempt. */
  metricDeferred(options: TaskMetricOptions = {}): Metric {
    return this.metric("Deferred", options);
  }

  /** How long attempts took, in milliseconds. */
  metricRunTime(options: TaskMetricOptions = {}): Metric {
    return this.metric("RunTime", { statistic: Stats.percentile(95), ...options });
  }

  /** From the time a task may run to the start of its attempt, in milliseconds. */
  metricWaitTime(options: TaskMetricOptions = {}): Metric {
    return this.metric("WaitTime", { statistic: Stats.percentile(95), ...options });
  }

  /** Dead tasks that nobody has redriven yet. */
  metricDeadTasks(options: MetricOptions = {}): Metric {
    return this.metric("DeadTasks", { statistic: Stats.MAXIMUM, ...options });
  }

  /** Until the oldest dead task's record may be forgotten, in seconds. */
  metricDeadTaskTimeLeft(options: MetricOptions = {}): Metric {
    return this.metric("DeadTaskTimeLeft", { statistic: Stats.MINIMUM, ...options });
  }

  #split(options: LaneMetricOptions): { lane: Lane; name: string; rest: MetricOptions } {
    const { lane = "normal", ...rest } = options;
    const name = this.sqsNames[lane];
    if (name !== undefined) return { lane, name, rest: { ...this.metricPlace, ...rest } };
    throw new TasklaneError("OPTION_INVALID", {
      what: `Queue "${this.queueName}" has no lane "${lane}"`,
      received: lane,
      expected: `one of ${Object.keys(this.sqsNames).join(", ")}`,
      fix: "ask for a lane that is deployed: the tasks of others are in normal's",
    });
  }
}

/**
 * What producers get: no dead letter queues, no limit that is the default, and no region that is their own, so that it stays within 700
 * bytes. Nor an endpoint: in an emulator's function another address leads to it, which the emulator sets.
 */
export function forProducers(topology: Topology, producerRegion: string): Topology {
  const lanes: Partial<Record<Lane, LaneTopology>> = {};
  for (const lane of LANES) {
    const { url, maxBacklog } = topology.lanes[lane] ?? {};
    if (url === undefined) continue;
    lanes[lane] = { url, ...(maxBacklog === undefined || maxBacklog === DEFAULT_MAX_BACKLOG ? {} : { maxBacklog }) };
  }
  const { queue, table, bucket, region } = topology;
  const isElsewhere = region !== undefined && !Token.isUnresolved(region) && region !== producerRegion;
  return { queue, lanes, table, bucket, ...(isElsewhere ? { region } : {}) };
}
