import { Duration, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type { EventSourceMappingOptions, IFunction } from "aws-cdk-lib/aws-lambda";
import {
  CfnAlias,
  CfnEventSourceMapping,
  CfnVersion,
  EventSourceMapping,
  Function as LambdaFunction,
  RecursiveLoop,
} from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import { expect, test } from "vitest";
import type { DeployedTask } from "../../infra/index.ts";
import { TaskQueue } from "../../infra/index.ts";
import { queueResource } from "../../infra/lane-queues.ts";
import type { TasklaneError } from "../../lib/task/errors.ts";
import { makeApp, makeFunction, refusalOf } from "./support/synth.ts";

/** What an event source needs, that nothing of a task is lost. */
const SAFE = { maxConcurrency: 2, reportBatchItemFailures: true };
const BARE = { functionResponseTypes: ["ReportBatchItemFailures"], scalingConfig: { maximumConcurrency: 2 } };
const FIT = { recursiveLoop: RecursiveLoop.ALLOW };

/** An app in which somebody lets a function poll lane low, without the construct. */
function polled(
  make: (stack: Stack, queue: TaskQueue, options: EventSourceMappingOptions) => void,
  tasks: DeployedTask[] = [],
): () => unknown {
  const app = makeApp();
  const stack = new Stack(app, "Shop");
  const queue = new TaskQueue(stack, "Tasks", { tasks });
  make(stack, queue, { ...SAFE, eventSourceArn: lowOf(queue).queueArn });
  return () => Template.fromStack(stack);
}

function lowOf({ lanes }: TaskQueue): Parameters<typeof queueResource>[0] {
  if (lanes.low === undefined) throw new Error("no lane");
  return lanes.low.queue;
}

test.each<[string, Partial<typeof SAFE> & { filters?: Record<string, unknown>[] }, RegExp, RegExp]>([
  ["with filters", { filters: [{ body: ["x"] }] }, /Shop\/Mine, lane low, has filters/, /take them out/],
  [
    "without failures of single items",
    { reportBatchItemFailures: false },
    /Shop\/Mine, lane low, does not report batch item failures: Lambda deletes/,
    /addWorker/,
  ],
])("an event source %s is refused", (_, settings, text, fix) => {
  const error = refusalOf(
    polled((stack, queue) => {
      makeFunction(stack, "Mine", FIT).addEventSource(new SqsEventSource(lowOf(queue), { ...SAFE, ...settings }));
    }),
  );
  expect(error.code).toBe("DEPLOYMENT_UNSAFE");
  expect(error.message).toMatch(text);
  expect(error.fix).toMatch(fix);
});

test("a function whose messages Lambda stops as a loop is refused", () => {
  const error = refusalOf(
    polled((stack, _, options) => {
      makeFunction(stack, "Mine").addEventSourceMapping("Low", options);
    }),
  );
  expect(error.message).toMatch(/stops Shop\/Mine as a loop.*RecursiveLoop.ALLOW/);
});

const TEN_MINUTES = { ...FIT, timeout: Duration.minutes(10) };

/** The ways from an event source to a function. */
const WAYS: [string, (stack: Stack, options: EventSourceMappingOptions, queue: TaskQueue) => void][] = [
  [
    "made beside it",
    (stack, options) =>
      new EventSourceMapping(stack, "Map", { target: makeFunction(stack, "Mine", TEN_MINUTES), ...options }),
  ],
  [
    "made in another stack",
    (stack, options) => {
      const other = new Stack(stack.node.root, "Other");
      new EventSourceMapping(other, "Map", { target: makeFunction(stack, "Mine", TEN_MINUTES), ...options });
    },
  ],
  [
    "of a version",
    (stack, { eventSourceArn = "" }) => {
      const { functionName } = makeFunction(stack, "Mine", TEN_MINUTES);
      const { attrVersion } = new CfnVersion(stack, "Version", { functionName });
      new CfnEventSourceMapping(stack, "Map", {
        functionName: `${functionName}:${attrVersion}`,
        eventSourceArn,
        ...BARE,
      });
    },
  ],
  [
    "of an alias",
    (stack, { eventSourceArn = "" }) => {
      const { functionName } = makeFunction(stack, "Mine", TEN_MINUTES);
      const { attrVersion: functionVersion } = new CfnVersion(stack, "Version", { functionName });
      const live = new CfnAlias(stack, "Live", { functionName, functionVersion, name: "live" });
      new CfnEventSourceMapping(stack, "Map", { functionName: live.ref, eventSourceArn, ...BARE });
    },
  ],
  [
    "written as a bare resource",
    (stack, _, queue) =>
      new CfnEventSourceMapping(stack, "Map", {
        functionName: makeFunction(stack, "Mine", TEN_MINUTES).functionArn,
        eventSourceArn: queueResource(lowOf(queue)).attrArn,
        ...BARE,
      }),
  ],
];

test.each(WAYS)("the function of a mapping %s is found", (_, make) => {
  const error: TasklaneError = refusalOf(
    polled((stack, queue, options) => {
      make(stack, options, queue);
    }),
  );
  expect(error.code).toBe("DEPLOYMENT_UNSAFE");
  expect(error.message).toMatch(/shorter than 6 × the timeout of Shop\/Mine.*Received: "360 s".*at least 3600 s/);
});

test("of a function that is not of this app nothing is said that is not known", () => {
  const add = (target: (stack: Stack) => IFunction): (() => unknown) =>
    polled(
      (stack, _, options) => new EventSourceMapping(stack, "Map", { target: target(stack), ...options }),
      [{ name: "export-report", timeoutMs: 5_000, lane: "low" }],
    );
  expect(add((stack) => LambdaFunction.fromFunctionName(stack, "Mine", "mine"))).not.toThrow();
  expect(add((stack) => makeFunction(stack, "Mine", { ...FIT, timeout: Duration.minutes(1) }))).not.toThrow();
});
