import { CfnParameter, Duration } from "aws-cdk-lib";
import type { Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import { describe, expect, test } from "vitest";
import type { DeployedTask } from "../../infra/index.ts";
import { TaskQueue } from "../../infra/index.ts";
import type { Lane } from "../../lib/task/lane.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import { makeFunction, makeStack, refusalOf, variablesOf } from "./support/synth.ts";

describe("a worker of one's own", () => {
  test("gets permissions, topology and an event source for each of its lanes", () => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["high", "normal"] });
    queue.addWorker(makeFunction(stack, "Mine", { timeout: Duration.minutes(2) }), {
      batchSize: 1,
      maxConcurrency: { high: 50 },
    });
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
    expect(refusalOf(() => queue.addWorker(makeFunction(stack, "Mine"), { lanes: ["low"] })).message).toMatch(
      /one of normal/,
    );
  });

  test("may send messages to the queue that starts it, which Lambda else takes for a loop", () => {
    const stack = makeStack();
    new TaskQueue(stack, "Tasks").addWorker(makeFunction(stack, "Mine"));
    expect(() => {
      Template.fromStack(stack).resourcePropertiesCountIs("AWS::Lambda::Function", { RecursiveLoop: "Allow" }, 2);
    }).not.toThrow();
  });

  test.each([
    ["a version", (stack: Stack) => makeFunction(stack, "Mine").currentVersion],
    ["an imported function", (stack: Stack) => LambdaFunction.fromFunctionName(stack, "Mine", "mine")],
  ])("is not %s, on which none of that can be set", (_, make) => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks");
    // Where Node strips the types, nothing else says so.
    const error = refusalOf(() => {
      queue.addWorker(make(stack) as never);
    });
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).toMatch(/Shop\/Mine.* is no function that Shop\/Tasks/);
  });
});

describe("the queue of a worker of one's own", () => {
  const twoQueues = (): { stack: Stack; mine: LambdaFunction; a: TaskQueue; b: TaskQueue } => {
    const stack = makeStack();
    const [a, b] = ["a", "b"].map((queueName) => new TaskQueue(stack, queueName, { queueName }));
    if (a === undefined || b === undefined) throw new Error("no queues");
    return { stack, mine: makeFunction(stack, "Mine"), a, b };
  };

  test("is one: the tasks of a second would die there", () => {
    const { mine, a, b } = twoQueues();
    a.addWorker(mine);
    const error = refusalOf(() => {
      b.addWorker(mine);
    });
    expect(error.code).toBe("DEPLOYMENT_UNSAFE");
    expect(error.message).toMatch(/Shop\/Mine cannot run the tasks of queue "b".*WRONG_QUEUE/);
    expect(error.fix).toMatch(/a function for each queue/);
  });

  test("is the one that it finds first, so a producer of another is added after", () => {
    const first = twoQueues();
    first.a.addProducer(first.mine);
    const error = refusalOf(() => {
      first.b.addWorker(first.mine);
    });
    expect(error.code).toBe("DEPLOYMENT_UNSAFE");
    expect(error.fix).toMatch(/call addWorker first.*createClient\({ queue: "a" }\)/);

    const { stack, mine, a, b } = twoQueues();
    b.addWorker(mine);
    a.addProducer(mine);
    const { TASKLANE_TOPOLOGY = "", TASKLANE_TOPOLOGY_A = "" } = variablesOf(stack, "Mine");
    expect(parseTopology(TASKLANE_TOPOLOGY, "the test").queue).toBe("b");
    expect(parseTopology(TASKLANE_TOPOLOGY_A, "the test").queue).toBe("a");
  });

  test("is not another one by an event source of its own", () => {
    const { stack, mine, a, b } = twoQueues();
    a.addWorker(mine);
    const queue = b.lanes.normal?.queue;
    if (queue === undefined) throw new Error("no lane");
    mine.addEventSource(new SqsEventSource(queue, { maxConcurrency: 2, reportBatchItemFailures: true }));
    expect(refusalOf(() => Template.fromStack(stack)).message).toMatch(
      /Shop\/Mine polls queue "b" and is a worker of queue "a"/,
    );
  });
});

describe("tasks are held against the functions that serve their lane", () => {
  const serve = (tasks: DeployedTask[], lanes?: Lane[]): Stack => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks", { tasks, lanes });
    queue.addWorker(makeFunction(stack, "Slow", { timeout: Duration.minutes(15) }), { lanes: ["low"] });
    queue.addWorker(makeFunction(stack, "Fast", { timeout: Duration.seconds(10) }), {
      lanes: Object.keys(queue.lanes).filter((lane): lane is Lane => lane !== "low"),
    });
    return stack;
  };

  test("so a slow one has a lane of its own", () => {
    const stack = serve([
      { name: "slow", timeoutMs: 600_000, lane: "low" },
      { name: "fast", timeoutMs: 5_000, lane: "critical" },
    ]);
    expect(() => Template.fromStack(stack)).not.toThrow();
  });

  test.each([
    ["their own", "critical", undefined],
    ["normal's, where theirs is not deployed", "critical", ["normal", "low"]],
    ["normal's, where they name none", undefined, undefined],
  ] as [string, Lane | undefined, Lane[] | undefined][])("in %s", (_, lane, lanes) => {
    const error = refusalOf(() => Template.fromStack(serve([{ name: "slow", timeoutMs: 600_000, lane }], lanes)));
    expect(error.message).toMatch(/Task "slow".*as long as Shop\/Fast.*600 s.*less than 10 s/);
  });
});

describe("what only the deploy decides", () => {
  const number = (stack: Stack): number => new CfnParameter(stack, "Number", { type: "Number" }).valueAsNumber;

  test("is not held against anything", () => {
    const stack = makeStack();
    const value = number(stack);
    const visibilityTimeout = Duration.seconds(value);
    const queue = new TaskQueue(stack, "Tasks", { visibilityTimeout, maxConcurrency: value });
    const mine = { timeout: Duration.seconds(value), reservedConcurrentExecutions: value };
    queue.addWorker(makeFunction(stack, "Mine", mine), { batchSize: value });
    expect(() => Template.fromStack(stack)).not.toThrow();
  });

  test.each([
    ["timeout", (stack: Stack) => ({ timeout: Duration.seconds(number(stack)) }), {}],
    [
      "batching window",
      () => ({}),
      (stack: Stack) => ({ batchSize: 1, maxBatchingWindow: Duration.seconds(number(stack)) }),
    ],
  ])("is no %s that the visibility timeout could follow", (_, props, options) => {
    const stack = makeStack();
    const error = refusalOf(() => {
      new TaskQueue(stack, "Tasks").addWorker(
        makeFunction(stack, "Mine", props(stack)),
        typeof options === "function" ? options(stack) : options,
      );
    });
    expect(error.code).toBe("DEPLOYMENT_UNSAFE");
    expect(error.fix).toMatch(/visibilityTimeout: 6 ×/);
  });
});
