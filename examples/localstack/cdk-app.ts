import { App, RemovalPolicy, Stack } from "aws-cdk-lib";
import { TaskQueue } from "tasklane/cdk";

const stack = new Stack(new App(), "MailTests");
new TaskQueue(stack, "Tasks", {
  queueName: "mail-tests",
  workerEntry: new URL("./lambda.ts", import.meta.url),
  lanes: ["normal"],
  removalPolicy: RemovalPolicy.DESTROY,
  without: ["autoDeleteObjects"],
});
