import { CfnParameter, Duration } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type { Stack } from "aws-cdk-lib";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { AddWorkerOptions, TaskQueueProps } from "../../infra/index.ts";
import { makeFunction, makeQueue, makeStack, refusalOf } from "./support/synth.ts";

/*
 * Where Node strips types nothing else says that a setting is not what was meant, so these are given as they come.
 */

describe("the constructor refuses", () => {
  test.each([
    ["a time that is no Duration", { visibilityTimeout: 360 }, /visibilityTimeout.*Duration.seconds/],
    ["a worker's time as a text", { workerProps: { timeout: "60s" } }, /workerProps.timeout.*Duration/],
    ["a topic that is an ARN", { alarmTopic: "arn:aws:sns:eu-central-1:1:alarms" }, /alarmTopic.*fromTopicArn/],
    ["a name that nobody reads", { maxBackLog: 5 }, /no option "maxBackLog" for TaskQueue Shop\/Tasks.*maxBacklog/],
    ["a worker's setting among the queue's", { batchSize: 5 }, /no option "batchSize"/],
    ["a lane that there is not", { maxConcurrency: { lwo: 4 } }, /"lwo" for the maxConcurrency of Shop\/Tasks.*low/],
    ["one in the backlogs too", { maxBacklog: { lwo: 4 } }, /"lwo" for the maxBacklog of Shop\/Tasks/],
    ["a part that cannot be left out", { without: ["alarm"] }, /Received: "alarm".*alarms, autoDeleteObjects/],
    ["a task's name for a task", { tasks: ["slow"] }, /Received: "slow".*what defineTask returns/],
    ["a task without a timeout", { tasks: [{ name: "slow" }] }, /Received: {"name":"slow"}/],
    ["a task of no lane", { tasks: [{ name: "slow", timeoutMs: 1, lane: "lwo" }] }, /no task definition/],
    [
      "batches for which nobody waits",
      { workerProps: { batchSize: 11 } },
      /Shop\/Tasks\/CriticalWorker asks for batches of more than 10.*at least 1 s/,
    ],
  ] as [string, object, RegExp][])("%s", (_, props, text) => {
    const error = refusalOf(() => makeQueue(props as TaskQueueProps));
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).toMatch(text);
    expect(error.fix).toBeTruthy();
  });

  test("a backlog that only the deploy knows, with more than a number nobody wrote", () => {
    const stack = makeStack();
    const maxBacklog = new CfnParameter(stack, "Number", { type: "Number" }).valueAsNumber;
    const error = refusalOf(() => new TaskQueue(stack, "Tasks", { maxBacklog }));
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).not.toContain("e+");
  });
});

describe("addWorker refuses", () => {
  const add = (options: (stack: Stack) => object): (() => void) => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks");
    const mine = makeFunction(stack, "Mine");
    return () => {
      queue.addWorker(mine, options(stack) as AddWorkerOptions);
    };
  };

  test.each([
    ["a name that nobody reads", { maxConcurency: 4 }, /no option "maxConcurency" for addWorker of Shop\/Mine/],
    ["a lane that there is not", { maxConcurrency: { lwo: 4 } }, /"lwo" for the maxConcurrency of Shop\/Mine/],
    ["a lane twice", { lanes: ["high", "high"] }, /serve a lane twice.*\["high","high"\]/],
    ["no lane", { lanes: [] }, /serve no lane/],
    ["an empty batch", { batchSize: 0 }, /batchSize of Shop\/Mine.*Received: 0.*from 1 to 10000/],
    ["half a message", { batchSize: 1.5 }, /Received: 1.5/],
    ["batches for which nobody waits", { batchSize: 20 }, /more than 10.*maxBatchingWindow of at least 1 s/],
    ["a wait of half a second", { maxBatchingWindow: Duration.millis(500) }, /Received: "0.5 s".*from 0 to 300/],
    ["a wait of six minutes", { maxBatchingWindow: Duration.minutes(6) }, /Received: "360 s"/],
  ] as [string, object, RegExp][])("%s", (_, options, text) => {
    const error = refusalOf(add(() => options));
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).toMatch(text);
  });

  test("nothing that an event source can have", () => {
    const stack = makeStack();
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["normal", "normal"], maxConcurrency: { low: 2 } });
    queue.addWorker(makeFunction(stack, "Mine"), { batchSize: 94, maxBatchingWindow: Duration.seconds(1) });
    expect(() => Template.fromStack(stack)).not.toThrow();
  });
});
