import { Duration } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { CfnEventSourceMapping, CfnFunction, RecursiveLoop } from "aws-cdk-lib/aws-lambda";
import { CfnQueue } from "aws-cdk-lib/aws-sqs";
import type { Queue } from "aws-cdk-lib/aws-sqs";
import type { IConstruct } from "constructs";
import { expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { TaskQueueProps } from "../../infra/index.ts";
import type { TasklaneError } from "../../lib/task/errors.ts";
import { makeFunction, makeQueue, makeStack, refusalOf } from "./support/synth.ts";

/** What synthesis says of a queue that was changed after it was made. */
function refusal(props: TaskQueueProps, change: (queue: TaskQueue) => void = () => undefined): TasklaneError {
  return refusalOf(() => {
    const { stack, queue } = makeQueue(props);
    change(queue);
    Template.fromStack(stack);
  });
}

function resource<Kind>(of: IConstruct | undefined, kind: new (...given: never[]) => Kind): Kind {
  const child = of?.node.defaultChild;
  if (child instanceof kind) return child;
  throw new Error("not found");
}

function queueOf(queue: TaskQueue, part: "queue" | "deadLetterQueue"): CfnQueue {
  return resource<CfnQueue>(queue.lanes.normal?.[part] as Queue, CfnQueue);
}

function sourcesOf(queue: TaskQueue): CfnEventSourceMapping[] {
  return queue.node.findAll().filter((child) => child instanceof CfnEventSourceMapping);
}

const MISTAKES: [string, TaskQueueProps, ((queue: TaskQueue) => void) | undefined, RegExp, RegExp][] = [
  [
    "F11 a visibility timeout under 6 × the function's",
    { visibilityTimeout: Duration.seconds(359) },
    undefined,
    /359 s.*at least 360 s/,
    /leave visibilityTimeout out/,
  ],
  [
    "one that is under it by the batching window",
    { visibilityTimeout: Duration.seconds(360), workerProps: { maxBatchingWindow: Duration.seconds(5) } },
    undefined,
    /at least 365 s/,
    /leave visibilityTimeout out/,
  ],
  [
    "one that was changed on the resource",
    {},
    (queue) => {
      queueOf(queue, "queue").visibilityTimeout = 30;
    },
    /30 s.*at least 360 s/,
    /visibilityTimeout/,
  ],
  [
    "F11 reserved concurrency under the sum of maximum concurrencies",
    { maxConcurrency: 4, workerProps: { reservedConcurrentExecutions: 3 } },
    undefined,
    /throttled.*Received: 3.*at least 4/,
    /leave reservedConcurrentExecutions out/,
  ],
  [
    "F16 event-source filters",
    {},
    (queue) => {
      for (const source of sourcesOf(queue)) source.filterCriteria = { filters: [{ pattern: "{}" }] };
    },
    /deletes what they do not match/,
    /a lane or a queue of their own/,
  ],
  [
    "an event source without a maximum concurrency",
    {},
    (queue) => {
      for (const source of sourcesOf(queue)) source.scalingConfig = undefined;
    },
    /has no maximum concurrency/,
    /addWorker/,
  ],
  [
    "dead letters that are kept no longer than messages",
    {},
    (queue) => {
      queueOf(queue, "deadLetterQueue").messageRetentionPeriod = 345_600;
    },
    /345600 s.*more than 345600 s/,
    /4 and 14 days/,
  ],
  [
    "receive limit × visibility over half the retention",
    { visibilityTimeout: Duration.hours(3) },
    undefined,
    /20 receives × 10800 s.*half of 345600 s/,
    /shorten the visibility timeout/,
  ],
  [
    "batch × size over the event limit",
    { workerProps: { batchSize: 95, maxBatchingWindow: Duration.seconds(1) } },
    undefined,
    /95 messages.*at most 94 messages/,
    /lower batchSize/,
  ],
  [
    "a task timeout above the function's",
    { tasks: [{ name: "export-report", timeoutMs: 61_000 }] },
    undefined,
    /"export-report" of lane normal.*Shop\/Tasks\/NormalWorker.*61 s.*less than 60 s/,
    /raise the function's timeout \(workerProps.timeout\)/,
  ],
  [
    "a function with hardly time to start a task",
    { workerProps: { timeout: Duration.seconds(2) } },
    undefined,
    /Received: "2 s".*at least 3 s/,
    /raise the timeout/,
  ],
  ["a function with none", { workerProps: { timeout: Duration.seconds(0) } }, undefined, /at least 3 s/, /raise/],
  [
    "a timeout that Lambda has not",
    { workerProps: { timeout: Duration.seconds(901) } },
    undefined,
    /901 s.*at most 900 s/,
    /createWorker/,
  ],
  [
    "F17 Lambda's guard against loops, which retries are to it",
    { workerProps: { recursiveLoop: RecursiveLoop.TERMINATE } },
    undefined,
    /stops Shop\/Tasks\/CriticalWorker as a loop/,
    /RecursiveLoop.ALLOW/,
  ],
  [
    "an event source without failures of single items",
    {},
    (queue) => {
      for (const source of sourcesOf(queue)) source.functionResponseTypes = undefined;
    },
    /does not report batch item failures/,
    /reportBatchItemFailures/,
  ],
  [
    "a timeout that was changed on the function",
    {},
    (queue) => {
      resource<CfnFunction>(queue.workers.low, CfnFunction).timeout = 900;
    },
    /Low.*at least 5400 s/,
    /shorten the timeout/,
  ],
];

test.each(MISTAKES)("synthesis refuses %s", (_, props, change, text, fix) => {
  const error = refusal(props, change);
  expect(error.code).toBe("DEPLOYMENT_UNSAFE");
  expect(error.message).toMatch(text);
  expect(error.message).toContain("Shop/Tasks");
  expect(error.fix).toMatch(fix);
});

test("the greatest values that are safe pass", () => {
  const { stack } = makeQueue({
    visibilityTimeout: Duration.minutes(144),
    maxConcurrency: 4,
    workerProps: {
      timeout: Duration.minutes(15),
      batchSize: 94,
      maxBatchingWindow: Duration.seconds(5),
      reservedConcurrentExecutions: 4,
    },
    tasks: [{ name: "export-report", timeoutMs: 899_000 }],
  });
  expect(() => Template.fromStack(stack)).not.toThrow();
});

test.each([
  ["a lane's workers below two", { maxConcurrency: 1 }, /from 2 to 1000/],
  ["a lane's workers above a thousand", { maxConcurrency: { low: 1_001 } }, /lane low.*from 2 to 1000/],
  ["no lane normal", { lanes: ["high"] }, /"normal" among them/],
  ["a queue name that is none", { queueName: "My Queue" }, /My Queue/],
  ["an entry that is not there", { workerEntry: "functions/no-such-worker.ts" }, /no-such-worker.ts/],
] as [string, TaskQueueProps, RegExp][])("the constructor refuses %s", (_, props, text) => {
  const error = refusalOf(() => makeQueue(props));
  expect(error.code).toBe("DEFINITION_INVALID");
  expect(error.message).toMatch(text);
});

test("a worker of one's own is checked like the others", () => {
  const error = refusalOf(() => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks");
    queue.addWorker(makeFunction(stack, "Mine", { reservedConcurrentExecutions: 5 }), { lanes: ["normal", "low"] });
    Template.fromStack(stack);
  });
  expect(error.message).toMatch(/reserved concurrency of Shop\/Mine.*Received: 5.*at least 6/);
});

test("permissions that no worker could get are no silent loss", () => {
  const error = refusalOf(() => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks");
    queue.table.grantReadData(queue);
    Template.fromStack(stack);
  });
  expect(error.code).toBe("DEFINITION_INVALID");
  expect(error.message).toMatch(/Shop\/Tasks has no worker/);
});
