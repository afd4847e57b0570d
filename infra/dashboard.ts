import { Stack } from "aws-cdk-lib";
import type { IMetric } from "aws-cdk-lib/aws-cloudwatch";
import { Dashboard, GraphWidget, SingleValueWidget } from "aws-cdk-lib/aws-cloudwatch";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { LaneQueues } from "./lane-queues.ts";
import { sqsMetric } from "./metrics.ts";
import type { TaskQueueReference } from "./task-queue-reference.ts";

/** A dashboard to which workers come later. */
export interface QueueDashboard {
  /** Shows a worker, if it is of the queue's own stack: a queue's stack that knew of others would depend on those that depend on it. */
  addWorker(worker: LambdaFunction): void;
}

const HALF = 12;
const HEIGHT = 6;

/** Adds the one dashboard of a queue: what is wrong first, then how much, how fast, and by whom. */
export function addDashboard(queue: TaskQueueReference, lanes: readonly LaneQueues[]): QueueDashboard {
  const graph = (title: string, left: IMetric[]): GraphWidget =>
    new GraphWidget({ title, left, width: HALF, height: HEIGHT, leftYAxis: { min: 0 } });
  const perLane = (metric: (lane: LaneQueues, label: string) => IMetric): IMetric[] =>
    lanes.map((lane) => metric(lane, lane.lane));
  const workers = graph("Errors and throttles of workers", []);
  new Dashboard(queue, "Dashboard", {
    widgets: [
      [
        new SingleValueWidget({
          title: `Queue ${queue.queueName}`,
          width: HALF * 2,
          height: HEIGHT / 2,
          metrics: [
            queue.metricDeadTasks({ label: "dead tasks" }),
            queue.metricDeadTaskTimeLeft({ label: "time left of the oldest dead task" }),
            queue.metricOldestTaskAge({ label: "oldest owed task overdue by" }),
            queue.metricSucceeded({ label: "succeeded" }),
            queue.metricFailures({ label: "failed" }),
          ],
        }),
      ],
      [
        graph("Attempts", [
          queue.metricSucceeded({ label: "succeeded" }),
          queue.metricFailures({ label: "failed" }),
          queue.metricDeferred({ label: "deferred" }),
          queue.metricDeadLettered({ label: "dead" }),
        ]),
        graph("Wait and run time (ms, 95 %)", [
          queue.metricWaitTime({ label: "wait" }),
          queue.metricRunTime({ label: "run" }),
        ]),
      ],
      [
        graph(
          "Backlog",
          perLane((lane, label) => queue.metricBacklog({ lane: lane.lane, label })),
        ),
        graph(
          "Age of the oldest message (s)",
          perLane((lane, label) => queue.metricOldestMessageAge({ lane: lane.lane, label })),
        ),
      ],
      [
        graph(
          "Dead letters",
          perLane(({ deadLetterQueue }, label) =>
            sqsMetric(deadLetterQueue.queueName, "ApproximateNumberOfMessagesVisible", { label }),
          ),
        ),
        workers,
      ],
    ],
  });
  return {
    addWorker(worker) {
      if (Stack.of(worker) !== Stack.of(queue)) return;
      workers.addLeftMetric(worker.metricErrors({ label: `${worker.node.id} errors` }));
      workers.addLeftMetric(worker.metricThrottles({ label: `${worker.node.id} throttles` }));
    },
  };
}
