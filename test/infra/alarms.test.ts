import { Stack } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";
import { Topic } from "aws-cdk-lib/aws-sns";
import { describe, expect, test } from "vitest";
import type { TaskQueueProps } from "../../infra/index.ts";
import { TaskQueue } from "../../infra/index.ts";
import { GAUGE_METRICS, METRIC_NAMESPACE, TASK_METRICS } from "../../lib/task/metrics.ts";
import {
  makeApp,
  makeFunction,
  makeQueue,
  makeStack,
  readable,
  refusalOf,
  resourcesOf,
  templateOf,
  WORKER_ENTRY,
} from "./support/synth.ts";

interface AlarmProperties {
  readonly Namespace?: string;
  readonly MetricName?: string;
  readonly Threshold: number;
  readonly Statistic?: string;
  readonly TreatMissingData: string;
  readonly ComparisonOperator: string;
  readonly AlarmDescription: string;
  readonly AlarmActions?: unknown[];
  readonly Dimensions?: { Name: string; Value: unknown }[];
  readonly Metrics?: { Expression?: string }[];
}

/** A queue's alarms, by id without its hash. */
function alarmsOf(template: Template): Record<string, AlarmProperties> {
  return Object.fromEntries(
    Object.entries(resourcesOf(template, "AWS::CloudWatch::Alarm")).map(([id, { Properties }]) => [
      id.replace(/^Tasks|Alarm[0-9A-F]{8}$/g, ""),
      Properties as unknown as AlarmProperties,
    ]),
  );
}

const alarms = alarmsOf(templateOf({ maxBacklog: 1_000 }));
const perLane = (suffix: string): string[] => ["Critical", "High", "Low", "Normal"].map((lane) => lane + suffix);

describe("the alarms", () => {
  test("are these", () => {
    expect(Object.keys(alarms).sort()).toEqual(
      [
        "DeadTasks",
        "DeadTaskTimeLeft",
        "OldestTask",
        "SchedulerSilent",
        ...perLane("Age"),
        ...perLane("Backlog"),
        ...perLane("DeadLetters"),
        ...perLane("InFlight"),
        ...perLane("WorkerErrors"),
        ...perLane("WorkerThrottles"),
      ].sort(),
    );
  });

  test("say what to do", () => {
    for (const { AlarmDescription } of Object.values(alarms)) {
      expect(AlarmDescription).toMatch(/^Tasklane queue "tasklane": .{60,}\.$/);
      // CloudWatch cuts nothing off: it refuses.
      expect(AlarmDescription.length).toBeLessThanOrEqual(1_024);
    }
  });

  test("watch unhandled dead records and dead letters", () => {
    expect(alarms["DeadTasks"]).toMatchObject({ Namespace: METRIC_NAMESPACE, MetricName: "DeadTasks", Threshold: 1 });
    expect(alarms["DeadTaskTimeLeft"]).toMatchObject({
      MetricName: "DeadTaskTimeLeft",
      ComparisonOperator: "LessThanThreshold",
      Threshold: 259_200,
      Statistic: "Minimum",
    });
    expect(alarms["HighDeadLetters"]).toMatchObject({
      Namespace: "AWS/SQS",
      MetricName: "ApproximateNumberOfMessagesVisible",
      Threshold: 1,
    });
    expect(readable(alarms["HighDeadLetters"]?.Dimensions?.[0]?.Value)).toBe("<TasksHighDeadLetters.QueueName>");
  });

  test("ring at 80 % of maxBacklog, counted as enqueue counts it", () => {
    expect(alarms["LowBacklog"]?.Threshold).toBe(800);
    expect(alarms["LowBacklog"]?.Metrics?.map(({ Expression }) => Expression).filter(Boolean)).toEqual([
      "lowWaiting + lowDelayed + lowInFlight",
    ]);
  });

  test("ring at half of the messages that may be in flight", () => {
    expect(alarms["NormalInFlight"]).toMatchObject({
      MetricName: "ApproximateNumberOfMessagesNotVisible",
      Threshold: 60_000,
    });
  });

  test("ring when the scheduler says nothing, and are quiet otherwise without data", () => {
    expect(alarms["SchedulerSilent"]).toMatchObject({ Statistic: "SampleCount", TreatMissingData: "breaching" });
    const loud = Object.entries(alarms).filter(([, { TreatMissingData }]) => TreatMissingData !== "notBreaching");
    expect(loud.map(([id]) => id)).toEqual(["SchedulerSilent"]);
  });

  test("read metrics that are written", () => {
    const known = new Set<string>([...Object.keys(TASK_METRICS), ...Object.keys(GAUGE_METRICS)]);
    const ours = Object.values(alarms).filter(({ Namespace }) => Namespace === METRIC_NAMESPACE);
    expect(ours.length).toBeGreaterThan(3);
    for (const { MetricName = "", Dimensions } of ours) {
      expect(known).toContain(MetricName);
      expect(Dimensions).toEqual([{ Name: "Queue", Value: "tasklane" }]);
    }
  });

  test("go to the topic that is given; without one synthesis warns", () => {
    const stack = makeStack();
    new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, alarmTopic: new Topic(stack, "Topic") });
    for (const { AlarmActions } of Object.values(alarmsOf(Template.fromStack(stack))))
      expect(AlarmActions).toEqual([{ Ref: expect.stringMatching(/^Topic/) }]);
    expect(() => {
      Annotations.fromStack(stack).hasNoWarning("*", Match.stringLikeRegexp("alarmTopic"));
    }).not.toThrow();
    expect(() => {
      Annotations.fromStack(makeQueue().stack).hasWarning("/Shop/Tasks", Match.stringLikeRegexp("alarmTopic"));
    }).not.toThrow();
  });
});

describe("a worker of one's own", () => {
  /** A queue with a function of its stack, and one of another. */
  const synthesise = (props: TaskQueueProps = {}): { queues: Template; others: Template } => {
    const app = makeApp();
    const [stack, other] = [new Stack(app, "Shop"), new Stack(app, "Other")];
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["low", "normal"], ...props });
    queue.addWorker(makeFunction(stack, "Near"), { lanes: ["normal"] });
    queue.addWorker(makeFunction(other, "Far"), { lanes: ["low"] });
    return { queues: Template.fromStack(stack), others: Template.fromStack(other) };
  };
  const names = (template: Template): string[] =>
    Object.keys(alarmsOf(template)).filter((id) => /Errors|Throttles/.test(id));

  test("has its alarms in its own stack, on which the queue's does not depend", () => {
    const { queues, others } = synthesise();
    expect(names(queues)).toEqual(["NearTasklaneErrors", "NearTasklaneThrottles"]);
    expect(names(others)).toEqual(["FarTasklaneErrors", "FarTasklaneThrottles"]);
    expect(alarmsOf(others)["FarTasklaneErrors"]).toMatchObject({
      Namespace: "AWS/Lambda",
      MetricName: "Errors",
      AlarmDescription: expect.stringMatching(/^Tasklane queue "tasklane": Other\/Far times out/),
    });
  });

  test("is on the dashboard, if it is of the queue's stack", () => {
    const [body = ""] = Object.values(resourcesOf(synthesise().queues, "AWS::CloudWatch::Dashboard")).map(
      ({ Properties }) => readable(Properties?.["DashboardBody"]),
    );
    expect(body).toContain("Near errors");
    expect(body).toContain("Near throttles");
    expect(body).not.toContain("Far");
  });

  test("has none where they are left out", () => {
    const { queues, others } = synthesise({ without: ["alarms", "dashboard"] });
    expect([...names(queues), ...names(others)]).toEqual([]);
  });
});

describe("what an emulator refuses", () => {
  test("is left out", () => {
    const bare = templateOf({ without: ["alarms", "dashboard", "pointInTimeRecovery"] });
    expect(() => {
      bare.resourceCountIs("AWS::CloudWatch::Alarm", 0);
    }).not.toThrow();
    expect(() => {
      bare.resourceCountIs("AWS::CloudWatch::Dashboard", 0);
    }).not.toThrow();
    expect(() => {
      bare.hasResourceProperties("AWS::DynamoDB::Table", { PointInTimeRecoverySpecification: Match.absent() });
    }).not.toThrow();
    const { stack } = makeQueue({ without: ["alarms"] });
    expect(() => {
      Annotations.fromStack(stack).hasNoWarning("*", Match.anyValue());
    }).not.toThrow();
  });

  test("may be metric math alone", () => {
    const plain = alarmsOf(templateOf({ without: ["metricMath"] }));
    expect(Object.keys(plain)).toEqual(Object.keys(alarms));
    for (const alarm of Object.values(plain)) expect(alarm).not.toHaveProperty("Metrics");
  });
});

test("there is one dashboard, which shows every lane and worker", () => {
  const template = templateOf();
  const bodies = Object.values(resourcesOf(template, "AWS::CloudWatch::Dashboard")).map(({ Properties }) =>
    readable(Properties?.["DashboardBody"]),
  );
  expect(bodies).toHaveLength(1);
  const body = JSON.parse((bodies[0] ?? "").replaceAll(/<[^>]+>/g, "name")) as { widgets: unknown[] };
  expect(body.widgets.length).toBeGreaterThan(6);
  for (const label of ["critical", "high", "normal", "low", "LowWorker errors"]) expect(bodies[0]).toContain(label);
});

test("metrics are split by task and by lane", () => {
  const { queue } = makeQueue();
  expect(queue.metricFailures({ task: "send-receipt" }).toMetricConfig().metricStat?.dimensions).toEqual([
    { name: "Queue", value: "tasklane" },
    { name: "Task", value: "send-receipt" },
  ]);
  expect(queue.metricDeadLettered().toMetricConfig().metricStat?.metricName).toBe("DeadLettered");
  expect(queue.metricOldestMessageAge({ lane: "high" }).toMetricConfig().metricStat?.metricName).toBe(
    "ApproximateAgeOfOldestMessage",
  );
  const { queue: small } = makeQueue({ lanes: ["normal"] });
  expect(refusalOf(() => small.metricBacklog({ lane: "low" })).code).toBe("OPTION_INVALID");
});
