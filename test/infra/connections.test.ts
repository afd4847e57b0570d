import { Stack } from "aws-cdk-lib";
import { Annotations, Match, Template } from "aws-cdk-lib/assertions";
import { Table, AttributeType } from "aws-cdk-lib/aws-dynamodb";
import { ContainerImage, FargateTaskDefinition } from "aws-cdk-lib/aws-ecs";
import { PolicyStatement } from "aws-cdk-lib/aws-iam";
import { Bucket } from "aws-cdk-lib/aws-s3";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import {
  deployed,
  makeApp,
  makeFunction,
  makeQueue,
  makeStack,
  refusalOf,
  resourcesOf,
  statementsOf,
  variablesOf,
  WORKER_ENTRY,
} from "./support/synth.ts";

describe("a producer", () => {
  test("that is a function gets the permission and a topology of at most 700 bytes", () => {
    const { stack, queue } = makeQueue();
    queue.addProducer(makeFunction(stack, "Api"));
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
    queue.addProducer(makeFunction(other, "Api"));
    const variables = Object.values(resourcesOf(Template.fromStack(other), "AWS::Lambda::Function"));
    expect(JSON.stringify(variables)).toContain("Fn::ImportValue");
  });

  test("keeps a limit of its own on the backlog, and leaves out the default", () => {
    const { stack, queue } = makeQueue({ maxBacklog: { low: 500 } });
    queue.addProducer(makeFunction(stack, "Api"));
    const topology = parseTopology(variablesOf(stack, "Api")["TASKLANE_TOPOLOGY"] ?? "", "the test");
    expect(topology.lanes.low?.maxBacklog).toBe(500);
    expect(topology.lanes.high?.maxBacklog).toBeUndefined();
  });

  test("of two queues finds each by its name", () => {
    const { stack, queue } = makeQueue();
    const mail = new TaskQueue(stack, "Mail", { queueName: "mail-out", lanes: ["normal"] });
    const api = makeFunction(stack, "Api");
    queue.addProducer(api);
    mail.addProducer(api);
    const variables = variablesOf(stack, "Api");
    expect(Object.keys(variables)).toEqual(["TASKLANE_TOPOLOGY", "TASKLANE_TOPOLOGY_MAIL_OUT"]);
    expect(parseTopology(variables["TASKLANE_TOPOLOGY_MAIL_OUT"] ?? "", "the test").queue).toBe("mail-out");
  });

  test("is not given two queues of one name", () => {
    const { stack, queue } = makeQueue();
    const twin = new TaskQueue(stack, "Twin");
    const api = makeFunction(stack, "Api");
    queue.addProducer(api);
    expect(refusalOf(() => twin.addProducer(api)).message).toMatch(/queue "tasklane" already.*another queueName/);
  });

  test.each([
    ["a-b", "a.b", "c"],
    ["c", "a-b", "a_b"],
  ])("is not given %s, %s and %s, of which clients look up two under one variable", (...names) => {
    const stack = makeStack();
    const api = makeFunction(stack, "Api");
    const add = (queueName: string): unknown => new TaskQueue(stack, queueName, { queueName }).addProducer(api);
    expect(refusalOf(() => names.map(add)).message).toMatch(
      /cannot tell queue "a[._]b" from "a-b".*TASKLANE_TOPOLOGY_A_B/,
    );
  });

  test("is no alias, which has no variables of its own", () => {
    const { stack, queue } = makeQueue();
    const version = makeFunction(stack, "Api").currentVersion;
    // Where Node strips the types, nothing else says so.
    const error = refusalOf(() => queue.addProducer(version as never));
    expect(error.code).toBe("OPTION_INVALID");
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

test("an entry is found by path as by URL", () => {
  const stack = makeStack();
  const path = WORKER_ENTRY.pathname;
  expect(Object.keys(new TaskQueue(stack, "A", { workerEntry: path }).workers)).toHaveLength(4);
  expect(
    Object.keys(new TaskQueue(stack, "B", { queueName: "b", workerEntry: WORKER_ENTRY.href }).workers),
  ).toHaveLength(4);
});
