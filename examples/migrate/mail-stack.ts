import type { StackProps } from "aws-cdk-lib";
import { Duration, Stack } from "aws-cdk-lib";
import { Runtime } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import { NodejsFunction } from "aws-cdk-lib/aws-lambda-nodejs";
import { Queue } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import { TaskQueue, type TaskQueueProps } from "tasklane/cdk";

export interface MailStackProps extends StackProps {
  /** Who reads the old queue: the old function, or a worker. */
  readonly reader: "function" | "worker";
  readonly without?: TaskQueueProps["without"];
}

export class MailStack extends Stack {
  constructor(scope: Construct, id: string, { reader, without, ...props }: MailStackProps) {
    super(scope, id, props);
    const timeout = Duration.seconds(60);
    const mails = new Queue(this, "Mails", {
      queueName: "mails",
      visibilityTimeout: Duration.seconds(6 * timeout.toSeconds()), // of whoever reads it
      deadLetterQueue: { queue: new Queue(this, "DeadMails"), maxReceiveCount: 5 },
    });
    const old = new NodejsFunction(this, "Old", {
      entry: `${import.meta.dirname}/function-with-middlewares.ts`,
      runtime: Runtime.NODEJS_24_X,
      timeout,
    });
    const tasks = new TaskQueue(this, "Tasks", {
      workerEntry: `${import.meta.dirname}/from-raw-bodies.ts`,
      workerProps: { timeout },
      lanes: ["normal"],
      without,
    });

    // The one line that is turned, and turned back.
    const chosen = reader === "worker" ? tasks.workers.normal : old;
    chosen?.addEventSource(new SqsEventSource(mails, { reportBatchItemFailures: true, maxConcurrency: 2 }));
  }
}
