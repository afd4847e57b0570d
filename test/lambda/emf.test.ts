import { describe, expect, test } from "vitest";
import { gaugeLine, TaskMetrics } from "../../lib/lambda/emf.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";

const AT = Date.UTC(2026, 0, 1);

function ended(task: string, outcome: "succeeded" | "retry" | "dead" | "interrupted", runMs: number): TasklaneEvent {
  return { type: "attempt-ended", at: AT, taskId: "some-task-id", task, lane: "normal", attempt: 1, outcome, runMs };
}

/** What CloudWatch's specification asks of a line. */
function check(line: string): Record<string, unknown> {
  const document: unknown = JSON.parse(line);
  expect(document).toMatchObject({ _aws: { Timestamp: AT } });
  expect(line).not.toContain("\n");
  const { _aws, ...members } = document as { _aws: { CloudWatchMetrics: Directive[] }; [name: string]: unknown };
  expect(_aws.CloudWatchMetrics).toHaveLength(1);
  for (const { Namespace, Dimensions, Metrics } of _aws.CloudWatchMetrics) {
    expect(Namespace).toBe("Tasklane");
    for (const name of Dimensions.flat()) expect(members[name]).toMatch(/^[!-~ ]{1,1024}$/);
    expect(Metrics.length).toBeLessThanOrEqual(100);
    for (const { Name, Unit } of Metrics) {
      expect(["Count", "Milliseconds", "Seconds"]).toContain(Unit);
      const values = [members[Name]].flat();
      expect(values.length).toBeGreaterThan(0);
      expect(values.length).toBeLessThanOrEqual(100);
      for (const value of values) expect(value).toBeTypeOf("number");
    }
    // Nothing is there that is neither a metric nor a dimension.
    expect(Object.keys(members).sort()).toEqual(
      [...new Set(Dimensions.flat()), ...Metrics.map(({ Name }) => Name)].sort(),
    );
  }
  return members;
}

interface Directive {
  Namespace: string;
  Dimensions: string[][];
  Metrics: { Name: string; Unit: string }[];
}

describe("metrics of tasks", () => {
  test("hold counts that are not zero, and times one by one", () => {
    const metrics = new TaskMetrics("mail", new Set(["send"]));
    metrics.add({
      type: "attempt-started",
      at: AT,
      taskId: "t",
      task: "send",
      lane: "normal",
      attempt: 1,
      waitMs: 12.4,
    });
    metrics.add(ended("send", "succeeded", 100));
    metrics.add(ended("send", "retry", 200.6));
    metrics.add(ended("send", "interrupted", 300));
    const lines = metrics.take(AT).map(check);
    expect(lines).toEqual([
      { Queue: "mail", Task: "send", Succeeded: 1, Failed: 1, RunTime: [100, 201, 300], WaitTime: [12] },
    ]);
    expect(metrics.take(AT)).toEqual([]);
  });

  test("lose no time where a batch has more than a line may hold, and count each task once", () => {
    const metrics = new TaskMetrics("mail");
    for (let runMs = 0; runMs < 250; runMs++) metrics.add(ended("send", "succeeded", runMs));
    const lines = metrics.take(AT).map(check);
    expect(lines.map(({ Succeeded }) => Succeeded)).toEqual([250, undefined, undefined]);
    expect(lines.flatMap(({ RunTime }) => RunTime)).toEqual(Array.from({ length: 250 }, (_, runMs) => runMs));
  });

  test("give no name of its own to what this worker does not handle: anybody may make names up", () => {
    const metrics = new TaskMetrics("mail", new Set(["send"]));
    for (let place = 0; place < 1_000; place++)
      metrics.add({
        type: "deferred",
        at: AT,
        reason: "unknown-task",
        delayMs: 1,
        taskId: "t",
        task: `made-up-${place}`,
        lane: "normal",
      });
    expect(metrics.take(AT).map(check)).toEqual([{ Queue: "mail", Task: "(other)", Deferred: 1_000 }]);
  });

  test("give the first hundred names their own where nobody says which are known, and go on doing so", () => {
    const metrics = new TaskMetrics("mail");
    const dead = (task: string): TasklaneEvent => ({
      type: "dead",
      at: AT,
      reason: "CRASHED",
      message: "",
      taskId: "t",
      task,
      lane: "normal",
    });
    for (let place = 0; place < 1_000; place++) metrics.add(dead(`made-up-${place}`));
    const lines = metrics.take(AT).map(check);
    expect(lines).toHaveLength(101);
    expect(lines).toContainEqual({ Queue: "mail", Task: "(other)", DeadLettered: 900 });
    for (const place of [7, 700]) metrics.add(dead(`made-up-${place}`));
    expect(metrics.take(AT).map((line) => check(line)["Task"])).toEqual(["made-up-7", "(other)"]);
  });

  test("and gauges hold zero too, by the queue alone", () => {
    expect(check(gaugeLine(AT, "mail", { DeadTasks: 0, OldestTaskAge: 1.5 }))).toEqual({
      Queue: "mail",
      DeadTasks: 0,
      OldestTaskAge: 1.5,
    });
  });
});
