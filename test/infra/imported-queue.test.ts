import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type { IMetric } from "aws-cdk-lib/aws-cloudwatch";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import type { Topology } from "../../lib/task/topology.ts";
import {
  makeFunction,
  makeQueue,
  makeStack,
  refusalOf,
  resourcesOf,
  statementsOf,
  variablesOf,
} from "./support/synth.ts";

describe("a queue that was made elsewhere", () => {
  const topology = {
    queue: "orders",
    region: "eu-central-1",
    lanes: {
      normal: {
        url: "https://sqs.eu-central-1.amazonaws.com/111122223333/Shop-Tasks-Normal-1",
        dlq: "https://sqs.eu-central-1.amazonaws.com/111122223333/Shop-Tasks-NormalDeadLetters-2",
      },
    },
    table: "Shop-TasksLedger-3",
    bucket: "shop-taskspayloads-4",
  };

  test("takes producers, with permissions on what the topology names", () => {
    const stack = makeStack();
    const queue = TaskQueue.fromTopology(stack, "Orders", topology);
    queue.addProducer(makeFunction(stack, "Api"));
    const statements = statementsOf(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
    expect(statements.flatMap(({ resources }) => resources)).toEqual([
      "arn:<AWS::Partition>:sqs:eu-central-1:111122223333:Shop-Tasks-Normal-1",
      "arn:<AWS::Partition>:dynamodb:eu-central-1:111122223333:table/Shop-TasksLedger-3",
      "arn:<AWS::Partition>:s3:::shop-taskspayloads-4/d30/*",
      "arn:<AWS::Partition>:s3:::shop-taskspayloads-4/d100/*",
      "arn:<AWS::Partition>:s3:::shop-taskspayloads-4/d400/*",
    ]);
    expect(parseTopology(variablesOf(stack, "Api")["TASKLANE_TOPOLOGY"] ?? "", "the test").queue).toBe("orders");
  });

  test("tells producers of another region where it is, and those of its own no more than they need", () => {
    const regionFor = (region: string | undefined, given: Topology): unknown => {
      const stack = new Stack(new App(), "Shop", region === undefined ? {} : { env: { region } });
      TaskQueue.fromTopology(stack, "Orders", given).addProducer(makeFunction(stack, "Api"));
      return parseTopology(variablesOf(stack, "Api")["TASKLANE_TOPOLOGY"] ?? "", "the test").region;
    };
    expect(regionFor("us-east-1", topology)).toBe("eu-central-1");
    expect(regionFor(undefined, topology)).toBe("eu-central-1");
    expect(regionFor("eu-central-1", topology)).toBeUndefined();
  });

  test("is read from JSON, and makes nothing", () => {
    const stack = makeStack();
    const queue = TaskQueue.fromTopology(stack, "Orders", JSON.stringify(topology));
    expect(queue.queueName).toBe("orders");
    expect(queue.metricBacklog().toMetricConfig().mathExpression?.expression).toContain("normalWaiting");
    expect(Template.fromStack(stack).toJSON()["Resources"]).toBeUndefined();
  });

  test("has its metrics where it is, unless another region is asked for", () => {
    const queue = TaskQueue.fromTopology(makeStack(), "Orders", topology);
    const regionOf = (metric: IMetric): unknown => metric.toMetricConfig().metricStat?.region;
    expect(regionOf(queue.metricOldestMessageAge())).toBe("eu-central-1");
    expect(regionOf(queue.metricDeadTasks())).toBe("eu-central-1");
    const backlog = queue.metricBacklog({ region: "us-east-1", color: "#ff0000" }).toMetricConfig();
    expect(Object.values(backlog.mathExpression?.usingMetrics ?? {}).map(regionOf)).toEqual(
      Array.from({ length: 3 }, () => "us-east-1"),
    );
    expect(backlog.renderingProperties?.["color"]).toBe("#ff0000");
  });

  test("may be an object that a cdk outputs file holds", () => {
    const outputs = JSON.stringify({ Shop: { TasksTopology1: JSON.stringify(topology) } });
    expect(TaskQueue.fromTopology(makeStack(), "Orders", outputs).queueName).toBe("orders");
  });

  test("is the one that is named, where a cdk outputs file has several", () => {
    const text = JSON.stringify({ Shop: { A: JSON.stringify(topology), B: { ...topology, queue: "mail" } } });
    const read = (queueName?: string): string =>
      TaskQueue.fromTopology(makeStack(), "Orders", text, { queueName }).queueName;
    expect(read("mail")).toBe("mail");
    expect(refusalOf(() => read())).toMatchObject({
      code: "TOPOLOGY_INVALID",
      message: expect.stringMatching(/more than one queue.*"orders","mail".*queueName/s),
    });
    expect(refusalOf(() => read("mails")).code).toBe("TOPOLOGY_MISSING");
  });

  test("is no token: the queue of the same app is used itself", () => {
    const { stack, queue } = makeQueue();
    const error = refusalOf(() => TaskQueue.fromTopology(stack, "Again", queue.topology));
    expect(error.code).toBe("TOPOLOGY_INVALID");
    expect(error.fix).toMatch(/use the queue itself/);
  });

  test.each([
    ["JSON of something else", "{}", /holds no queue/],
    ["no lane", { ...topology, lanes: {} }, /holds no queue, lanes/],
    ["an unknown lane", { ...topology, lanes: { ...topology.lanes, urgent: { url: "https://a/1/b" } } }, /lanes/],
    ["a name for a URL", { ...topology, lanes: { normal: { url: "orders" } } }, /without the URL.*Received: "orders"/],
    ["a URL of no queue", { ...topology, lanes: { normal: { url: "https://sqs.example/" } } }, /without the URL/],
  ] as [string, Topology | string, RegExp][])("is not read from %s", (_, given, text) => {
    const error = refusalOf(() => TaskQueue.fromTopology(makeStack(), "Bad", given));
    expect(error.code).toBe("TOPOLOGY_INVALID");
    expect(error.message).toMatch(text);
    expect(error.message).toContain("Shop/Bad");
  });

  test("may have URLs that only the deploy knows", () => {
    const app = new App();
    const stack = new Stack(app, "Shop");
    const url = stack.toJsonString({ a: 1 });
    const queue = TaskQueue.fromTopology(stack, "Orders", { ...topology, lanes: { normal: { url } } });
    queue.addProducer(makeFunction(stack, "Api"));
    expect(JSON.stringify(Template.fromStack(stack).toJSON())).toContain('"Fn::Select":[4,{"Fn::Split":["/"');
  });
});
