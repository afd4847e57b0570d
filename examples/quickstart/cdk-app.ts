import { App, Stack } from "aws-cdk-lib";
import { TaskQueue } from "tasklane/cdk";
import { sendReceipt } from "./tasks.ts";

const stack = new Stack(new App(), "Shop");
new TaskQueue(stack, "Tasks", {
  queueName: "shop",
  workerEntry: "lambda.ts",
  // A new account may run ten functions at once: ask for more before you raise this.
  maxConcurrency: 2,
  // Synthesis compares their timeouts with the function's.
  tasks: [sendReceipt],
});
