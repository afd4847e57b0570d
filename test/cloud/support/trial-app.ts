import { App, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import { TaskQueue } from "../../../infra/index.ts";

/** A queue for load, and one apart for tasks that fail: a failed invocation stops an emulator's event source for a second. */
const app = new App();
const stack = new Stack(app, "TasklaneTrial");
const common = {
  workerEntry: new URL("trial-worker.ts", import.meta.url),
  workerProps: { timeout: Duration.seconds(10) },
  maxConcurrency: 2,
  removalPolicy: RemovalPolicy.DESTROY,
  without: ["alarms", "autoDeleteObjects", "dashboard", "metricMath"] as const,
};
new TaskQueue(stack, "Load", { ...common, queueName: "load" });
new TaskQueue(stack, "Trouble", { ...common, queueName: "trouble", lanes: ["high", "normal"] });
