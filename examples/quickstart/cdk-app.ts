import { App, Stack } from "aws-cdk-lib";
import { TaskQueue } from "tasklane/cdk";

const stack = new Stack(new App(), "Shop");
// A new account may run ten functions at once: ask for more before you raise maxConcurrency.
new TaskQueue(stack, "Tasks", { queueName: "shop", workerEntry: "lambda.ts", maxConcurrency: 2 });
