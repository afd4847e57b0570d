import type { Message } from "@aws-sdk/client-sqs";
import { DeleteMessageCommand, ReceiveMessageCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import type { LambdaBatchReport, LambdaContext, LambdaSqsEvent, LambdaSqsRecord } from "../../lib/lambda/index.ts";
import type { Topology } from "../../lib/task/topology.ts";
import { settleEndpoints } from "../../lib/aws/clients.ts";
import { messagesIn } from "../support/queue-depth.ts";

/** An SQS event source as Lambda's: receives a batch, calls the function, and deletes what is not in its report. */
export class EventSource {
  readonly #client: SQSClient;
  readonly #url: string;

  constructor(topology: Topology, lane: "critical" | "high" | "normal" | "low" = "normal") {
    const endpoint = settleEndpoints(topology.endpoint)?.sqs;
    this.#client = new SQSClient({
      ...(endpoint === undefined ? {} : { endpoint }),
      region: "us-east-1",
      credentials: { accessKeyId: "test", secretAccessKey: "test" },
    });
    this.#url = topology.lanes[lane]?.url ?? "";
  }

  /** Receives up to ten messages as an event. */
  async receive(visibilitySeconds = 360, waitSeconds = 5): Promise<LambdaSqsEvent> {
    const { Messages = [] } = await this.#client.send(
      new ReceiveMessageCommand({
        QueueUrl: this.#url,
        MaxNumberOfMessages: 10,
        VisibilityTimeout: visibilitySeconds,
        WaitTimeSeconds: waitSeconds,
        MessageSystemAttributeNames: ["All"],
      }),
    );
    return { Records: Messages.map((message) => recordOf(message, this.#url)) };
  }

  /** Deletes what the report lets go. */
  async conclude(event: LambdaSqsEvent, report: LambdaBatchReport): Promise<void> {
    const failed = new Set(report.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
    for (const { messageId, receiptHandle } of event.Records)
      if (!failed.has(messageId))
        await this.#client.send(new DeleteMessageCommand({ QueueUrl: this.#url, ReceiptHandle: receiptHandle }));
  }

  /** Puts a foreign message into the queue. */
  async send(body: string): Promise<void> {
    await this.#client.send(new SendMessageCommand({ QueueUrl: this.#url, MessageBody: body }));
  }

  /** Messages in the queue, by SQS's own count. */
  count(): Promise<number> {
    return messagesIn(this.#client, this.#url);
  }
}

function recordOf(message: Message, url: string): LambdaSqsRecord {
  return {
    messageId: message.MessageId ?? "",
    receiptHandle: message.ReceiptHandle ?? "",
    body: message.Body ?? "",
    attributes: {
      ApproximateReceiveCount: message.Attributes?.ApproximateReceiveCount ?? "1",
      SentTimestamp: message.Attributes?.SentTimestamp ?? "0",
    },
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${url.slice(url.lastIndexOf("/") + 1)}`,
  };
}

/** A context whose invocation ends so many milliseconds from now. */
export function contextOf(ms: number): LambdaContext {
  const end = Date.now() + ms;
  return { awsRequestId: "request", getRemainingTimeInMillis: () => end - Date.now() };
}
