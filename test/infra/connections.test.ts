import { App, Duration, Stack } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";
import { Table, AttributeType } from "aws-cdk-lib/aws-dynamodb";
import { ContainerImage, FargateTaskDefinition } from "aws-cdk-lib/aws-ecs";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { Code, Function as LambdaFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { Bucket } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import {
  makeApp,
  makeQueue,
  makeStack,
  readable,
  refusalOf,
  resourcesOf,
  statementsOf,
  WORKER_ENTRY,
} from "./support/synth.ts";

function makeFunction(scope: Construct, id = "Api", timeout?: Duration): LambdaFunction {
  return new LambdaFunction(scope, id, {
    runtime: Runtime.NODEJS_24_X,
    handler: "index.handler",
    code: Code.fromInline("exports.handler = null"),
    ...(timeout === undefined ? {} : { timeout }),
  });
}

/** The variables of a function, read as the deploy would leave them. */
function variablesOf(stack: Stack, id: string): Record<string, string> {
  const functions = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::Lambda::Function"));
  const [, found] = functions.find(([name]) => name.startsWith(id)) ?? [];
  const environment = (found?.Properties?.["Environment"] ?? { Variables: {} }) as {
    Variables: Record<string, unknown>;
  };
  return Object.fromEntries(Object.entries(environment.Variables).map(([name, value]) => [name, deployed(value)]));
}

/** What CloudFormation makes of a value: queues answer their URLs, other references a name of the usual length. */
function deployed(value: unknown): string {
  return readable(value)
    .replace("<AWS::Region>", "ap-southeast-1")
    .replace(/<([^>]+)>/g, (_, id: string) =>
      /Critical|High|Normal|Low/.test(id)
        ? `https://sqs.ap-southeast-1.amazonaws.com/123456789012/Shop-${id}-105A5640`
        : `shop-${id}-abcdefghijkl`.slice(0, 63),
    );
}

describe("a producer", () => {
  test("that is a function gets the permission and a topology of at most 700 bytes", () => {
    const { stack, queue } = makeQueue();
    queue.addProducer(makeFunction(stack));
    const { TASKLANE_TOPOLOGY: json = "" } = variablesOf(stack, "Api");
    expect(json.length).toBeLessThanOrEqual(700);
    const topology = parseTopology(json, "the test");
    expect(Object.keys(topology.lanes)).toEqual(["critical", "high", "normal", "low"]);
    expect(json).not.toContain("dlq");
    expect(topology.queue).toBe("tasklane");
    const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
    const api = statementsOf(Object.fromEntries(policies.filter(([id]) => id.startsWith("Api"))));
    expect(api.flatMap(({ actions }) => actions)).toContain("sqs:SendMessage");
  });

  test("that is a container gets them too", () => {
    const { stack, queue } = makeQueue();
    const tasks = new FargateTaskDefinition(stack, "Web");
    queue.addProducer(tasks.addContainer("App", { image: ContainerImage.fromRegistry("shop"), memoryLimitMiB: 512 }));
    const template = Template.fromStack(stack);
    expect(() => {
      template.hasResourceProperties("AWS::ECS::TaskDefinition", {
        ContainerDefinitions: [Match.objectLike({ Environment: [Match.objectLike({ Name: "TASKLANE_TOPOLOGY" })] })],
      });
    }).not.toThrow();
    expect(() => {
      template.hasResourceProperties("AWS::IAM::Policy", {
        PolicyName: Match.stringLikeRegexp("WebTaskRole"),
        PolicyDocument: {
          Statement: Match.arrayWith([Match.objectLike({ Action: ["sqs:SendMessage", "sqs:GetQueueAttributes"] })]),
        },
      });
    }).not.toThrow();
  });

  test("in another stack gets them too", () => {
    const app = makeApp();
    const queue = new TaskQueue(new Stack(app, "Queues"), "Tasks");
    const other = new Stack(app, "Other");
    queue.addProducer(makeFunction(other));
    const variables = Object.values(resourcesOf(Template.fromStack(other), "AWS::Lambda::Function"));
    expect(JSON.stringify(variables)).toContain("Fn::ImportValue");
  });

  test("keeps a limit of its own on the backlog, and leaves out the default", () => {
    const { stack, queue } = makeQueue({ maxBacklog: { low: 500 } });
    queue.addProducer(makeFunction(stack));
    const topology = parseTopology(variablesOf(stack, "Api")["TASKLANE_TOPOLOGY"] ?? "", "the test");
    expect(topology.lanes.low?.maxBacklog).toBe(500);
    expect(topology.lanes.high?.maxBacklog).toBeUndefined();
  });

  test("of two queues finds each by its name", () => {
    const { stack, queue } = makeQueue();
    const mail = new TaskQueue(stack, "Mail", { queueName: "mail-out", lanes: ["normal"] });
    const api = makeFunction(stack);
    queue.addProducer(api);
    mail.addProducer(api);
    const variables = variablesOf(stack, "Api");
    expect(Object.keys(variables)).toEqual(["TASKLANE_TOPOLOGY", "TASKLANE_TOPOLOGY_MAIL_OUT"]);
    expect(parseTopology(variables["TASKLANE_TOPOLOGY_MAIL_OUT"] ?? "", "the test").queue).toBe("mail-out");
  });

  test("is not given two queues of one name", () => {
    const { stack, queue } = makeQueue();
    const twin = new TaskQueue(stack, "Twin");
    const api = makeFunction(stack);
    queue.addProducer(api);
    expect(refusalOf(() => twin.addProducer(api)).message).toMatch(/queue "tasklane" already.*another queueName/);
  });

  test("that is a worker of another queue keeps its own queue first", () => {
    const { stack, queue } = makeQueue();
    const mail = new TaskQueue(stack, "Mail", { queueName: "mail" });
    const worker = queue.workers.normal;
    if (worker === undefined) throw new Error("no worker");
    mail.addProducer(worker);
    const variables = variablesOf(stack, "TasksNormalWorker");
    expect(parseTopology(variables["TASKLANE_TOPOLOGY"] ?? "", "the test").queue).toBe("tasklane");
    expect(parseTopology(variables["TASKLANE_TOPOLOGY_MAIL"] ?? "", "the test").queue).toBe("mail");
  });
});

describe("the topology", () => {
  test("is an output that clients read from a cdk outputs file", () => {
    const { stack } = makeQueue();
    const outputs = Object.entries(Template.fromStack(stack).findOutputs("*")) as [string, { Value: unknown }][];
    const file = { Shop: Object.fromEntries(outputs.map(([id, { Value }]) => [id, deployed(Value)])) };
    const topology = parseTopology(JSON.stringify(file), "the outputs");
    expect(topology).toMatchObject({ queue: "tasklane", region: "ap-southeast-1" });
    expect(topology.lanes.critical).toMatchObject({
      dlq: expect.stringContaining("DeadLetters"),
      maxBacklog: 1_000_000,
    });
  });

  test("gives workers and the scheduler their dead letter queues", () => {
    const { stack } = makeQueue();
    for (const id of ["TasksCriticalWorker", "TasksScheduler"])
      expect(variablesOf(stack, id)["TASKLANE_TOPOLOGY"]).toContain('"dlq"');
  });

  test("that is too long for a producer is warned of", () => {
    const stack = new Stack(makeApp(), "AStackWithAVeryLongNameForTheWholeOfTheCompanysInternalOrderAndBillingSystem");
    new TaskQueue(stack, "TheQueueOfTheOrderAndBillingSystemsMail", { queueName: "order-and-billing-systems-mail" });
    expect(() => {
      Annotations.fromStack(stack).hasWarning("*", Match.stringLikeRegexp("bytes of a producer's environment"));
    }).not.toThrow();
  });

  test("of an ordinary stack is not", () => {
    const { stack } = makeQueue();
    expect(() => {
      Annotations.fromStack(stack).hasNoWarning("*", Match.stringLikeRegexp("bytes of a producer's environment"));
    }).not.toThrow();
  });
});

test("two queues of one name in one account are warned of, and two of two names are not", () => {
  const stack = makeStack();
  new TaskQueue(stack, "One");
  new TaskQueue(stack, "Two");
  new TaskQueue(stack, "Three", { queueName: "three" });
  const annotations = Annotations.fromStack(stack);
  expect(() => {
    annotations.hasWarning("/Shop/Two", Match.stringLikeRegexp('both named "tasklane"'));
  }).not.toThrow();
  expect(() => {
    annotations.hasNoWarning("/Shop/Three", Match.stringLikeRegexp("both named"));
  }).not.toThrow();
});

describe("a grant to the queue", () => {
  test("reaches its workers, and those that are added later", () => {
    const { stack, queue } = makeQueue();
    const orders = new Table(stack, "Orders", { partitionKey: { name: "id", type: AttributeType.STRING } });
    orders.grantReadData(queue);
    queue.addWorker(makeFunction(stack, "Late"), { lanes: ["low"] });
    const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"))
      .filter(([, { Properties }]) => JSON.stringify(Properties).includes("Orders"))
      .map(([id]) => id.replace(/DefaultPolicy.*/, ""));
    expect(policies.sort()).toEqual(["LateServiceRole", "TasksWorkerRole"]);
  });

  test("of a resource that lists whom it lets in names the workers' roles", () => {
    const { stack, queue } = makeQueue();
    const bucket = new Bucket(stack, "Shared");
    bucket.addToResourcePolicy(
      new PolicyStatement({
        actions: ["s3:GetObject"],
        resources: [bucket.arnForObjects("*")],
        principals: [queue.grantPrincipal],
      }),
    );
    const policies = statementsOf(resourcesOf(Template.fromStack(stack), "AWS::S3::BucketPolicy"));
    const principals = policies.map(({ principal }) => principal).filter((principal) => principal !== undefined);
    expect(JSON.stringify(principals)).toContain("TasksWorkerRole");
  });
});

describe("a worker of one's own", () => {
  test("gets permissions, topology and an event source for each of its lanes", () => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["high", "normal"] });
    queue.addWorker(makeFunction(stack, "Mine", Duration.minutes(2)), { batchSize: 1, maxConcurrency: { high: 50 } });
    const template = Template.fromStack(stack);
    expect(() => {
      template.resourcePropertiesCountIs("AWS::Lambda::EventSourceMapping", { BatchSize: 1 }, 2);
    }).not.toThrow();
    expect(() => {
      template.hasResourceProperties("AWS::Lambda::EventSourceMapping", { ScalingConfig: { MaximumConcurrency: 50 } });
    }).not.toThrow();
    expect(() => {
      template.hasResourceProperties("AWS::SQS::Queue", { VisibilityTimeout: 720 });
    }).not.toThrow();
    expect(variablesOf(stack, "Mine")["TASKLANE_TOPOLOGY"]).toContain('"dlq"');
  });

  test("serves no lane that is not deployed", () => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["normal"] });
    expect(refusalOf(() => queue.addWorker(makeFunction(stack), { lanes: ["low"] })).message).toMatch(/one of normal/);
  });
});

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
    queue.addProducer(makeFunction(stack));
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

  test("is read from JSON, and makes nothing", () => {
    const stack = makeStack();
    const queue = TaskQueue.fromTopology(stack, "Orders", JSON.stringify(topology));
    expect(queue.queueName).toBe("orders");
    expect(queue.metricBacklog().toMetricConfig().mathExpression?.expression).toContain("normalWaiting");
    expect(Template.fromStack(stack).toJSON()["Resources"]).toBeUndefined();
    expect(() => TaskQueue.fromTopology(stack, "Bad", "{}")).toThrow(/TOPOLOGY_INVALID/);
  });

  test("may have URLs that only the deploy knows", () => {
    const app = new App();
    const stack = new Stack(app, "Shop");
    const url = stack.toJsonString({ a: 1 });
    const queue = TaskQueue.fromTopology(stack, "Orders", { ...topology, lanes: { normal: { url } } });
    queue.addProducer(makeFunction(stack));
    expect(JSON.stringify(Template.fromStack(stack).toJSON())).toContain('"Fn::Select":[4,{"Fn::Split":["/"');
  });
});

test("an entry is found by path as by URL", () => {
  const stack = makeStack();
  const path = WORKER_ENTRY.pathname;
  expect(Object.keys(new TaskQueue(stack, "A", { workerEntry: path }).workers)).toHaveLength(4);
  expect(
    Object.keys(new TaskQueue(stack, "B", { queueName: "b", workerEntry: WORKER_ENTRY.href }).workers),
  ).toHaveLength(4);
});
