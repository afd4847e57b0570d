import type { StackProps } from "aws-cdk-lib";
import { Duration, Stack } from "aws-cdk-lib";
import { AttributeType, TableV2 } from "aws-cdk-lib/aws-dynamodb";
import { RecursiveLoop, Runtime } from "aws-cdk-lib/aws-lambda";
import { SqsEventSource } from "aws-cdk-lib/aws-lambda-event-sources";
import { NodejsFunction } from "aws-cdk-lib/aws-lambda-nodejs";
import { Queue } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";

/** The queue, the function and the tables of all four middlewares, with the permissions of each. */
export class MailStack extends Stack {
  constructor(scope: Construct, id: string, props?: StackProps) {
    super(scope, id, props);
    const timeout = Duration.seconds(60);
    const deadLetters = new Queue(this, "DeadLetters", { retentionPeriod: Duration.days(14) });
    const queue = new Queue(this, "Mails", {
      visibilityTimeout: Duration.seconds(6 * timeout.toSeconds()),
      deadLetterQueue: { queue: deadLetters, maxReceiveCount: 5 },
    });
    const sender = new NodejsFunction(this, "Sender", {
      entry: `${import.meta.dirname}/all.ts`,
      runtime: Runtime.NODEJS_24_X,
      timeout,
      // A throttled message goes through the function more than once: Lambda would take it for a loop, and drop it.
      recursiveLoop: RecursiveLoop.ALLOW,
    });

    // Also grants ReceiveMessage, DeleteMessage, ChangeMessageVisibility and GetQueueAttributes.
    sender.addEventSource(new SqsEventSource(queue, { reportBatchItemFailures: true, maxConcurrency: 5 }));

    // rateLimit
    queue.grantSendMessages(sender);
    const limits = new TableV2(this, "Limits", {
      tableName: "mail-limits",
      partitionKey: { name: "pk", type: AttributeType.STRING },
      sortKey: { name: "sk", type: AttributeType.STRING },
      timeToLiveAttribute: "x",
    });
    limits.grant(sender, "dynamodb:UpdateItem", "dynamodb:GetItem");

    // idempotency
    const keys = new TableV2(this, "Keys", {
      tableName: "mail-keys",
      partitionKey: { name: "id", type: AttributeType.STRING },
      timeToLiveAttribute: "expiration",
    });
    keys.grant(sender, "dynamodb:PutItem", "dynamodb:UpdateItem", "dynamodb:DeleteItem", "dynamodb:GetItem");
  }
}
