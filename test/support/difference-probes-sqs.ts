import type { Message, QueueAttributeName, SQSClient } from "@aws-sdk/client-sqs";
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ListDeadLetterSourceQueuesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SendMessageCommand,
  StartMessageMoveTaskCommand,
} from "@aws-sdk/client-sqs";
import type { DifferenceId } from "./backend-differences.ts";
import type { DifferenceProbe } from "./difference-site.ts";
import { isRefused, probeName, within } from "./difference-site.ts";

const HALF_DAY_S = 43_200;
/** SQS takes no shorter one. */
const RETENTION_MIN_S = 60;
const PATIENCE_MS = 8_000;

interface ProbeQueue {
  readonly url: string;
  readonly arn: string;
}

/** Each resolves true if SQS is here as it is at AWS. */
export const SQS_PROBES: Readonly<Record<DifferenceId<"SQS">, DifferenceProbe>> = {
  "stale-receipt-deletes": async ({ sqs }) => {
    const { queue, receipt } = await staleReceipt(sqs);
    await isRefused(sqs.send(new DeleteMessageCommand({ QueueUrl: queue.url, ReceiptHandle: receipt })));
    return (await receive(sqs, queue)) !== undefined;
  },
  "stale-receipt-refused": async ({ sqs }) => {
    const { queue, receipt } = await staleReceipt(sqs);
    return !(await isRefused(sqs.send(new DeleteMessageCommand({ QueueUrl: queue.url, ReceiptHandle: receipt }))));
  },
  "long-delay": async ({ sqs }) => {
    const { url } = await makeQueue(sqs);
    return isRefused(sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: "x", DelaySeconds: 901 })));
  },
  "long-visibility": async ({ sqs }) => {
    const queue = await makeQueue(sqs);
    await sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: "x" }));
    const { ReceiptHandle } = await mustReceive(sqs, queue);
    return isRefused(
      sqs.send(
        new ChangeMessageVisibilityCommand({ QueueUrl: queue.url, ReceiptHandle, VisibilityTimeout: HALF_DAY_S + 1 }),
      ),
    );
  },
  "astral-characters": async ({ sqs }) => {
    const { url } = await makeQueue(sqs);
    return !(await isRefused(sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: "😀" }))));
  },
  "noncharacter-in-a-batch": async ({ sqs }) => {
    const { url } = await makeQueue(sqs);
    const entries = ["fine", "a\uffffb"].map((MessageBody, place) => ({ Id: `entry${place}`, MessageBody }));
    const command = new SendMessageBatchCommand({ QueueUrl: url, Entries: entries });
    if (await isRefused(sqs.send(command))) return false;
    const { Successful = [], Failed = [] } = await sqs.send(command);
    return Successful[0]?.Id === "entry0" && Failed[0]?.Id === "entry1";
  },
  retention: async ({ sqs, pass }) => {
    const queue = await makeQueue(sqs, { MessageRetentionPeriod: String(RETENTION_MIN_S) });
    await sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: "x" }));
    await pass((RETENTION_MIN_S + 1) * 1_000);
    return (await receive(sqs, queue, 1_000)) === undefined;
  },
  "message-move": async ({ sqs }) => {
    const { dlq } = await makeLane(sqs);
    return !(await isRefused(sqs.send(new StartMessageMoveTaskCommand({ SourceArn: dlq.arn }))));
  },
  "sources-of-a-dlq": async ({ sqs }) => {
    const { dlq } = await makeLane(sqs);
    return !(await isRefused(sqs.send(new ListDeadLetterSourceQueuesCommand({ QueueUrl: dlq.url }))));
  },
  "group-id": async ({ sqs }) => {
    const queue = await makeQueue(sqs);
    await sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: "x", MessageGroupId: "tenant" }));
    return (await mustReceive(sqs, queue)).Attributes?.MessageGroupId === "tenant";
  },
  "unasked-attributes": async ({ sqs }) => {
    const queue = await makeQueue(sqs);
    await sqs.send(
      new SendMessageCommand({
        QueueUrl: queue.url,
        MessageBody: "x",
        MessageAttributes: { a: { DataType: "String", StringValue: "b" } },
      }),
    );
    const { Messages } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: queue.url, WaitTimeSeconds: 5 }));
    return Messages?.[0]?.MessageAttributes === undefined && Messages?.[0]?.Attributes === undefined;
  },
  "message-size": async ({ sqs }) => (await attribute(sqs, await makeQueue(sqs), "MaximumMessageSize")) === "1048576",
  "eleven-attributes": async ({ sqs }) => {
    const { url } = await makeQueue(sqs);
    const attributes = Array.from({ length: 11 }, (_, place) => [
      `a${place}`,
      { DataType: "String", StringValue: "b" },
    ]);
    return isRefused(
      sqs.send(
        new SendMessageCommand({ QueueUrl: url, MessageBody: "x", MessageAttributes: Object.fromEntries(attributes) }),
      ),
    );
  },
  "url-host": async ({ sqs }) => {
    const { url } = await makeQueue(sqs);
    const endpoint = await sqs.config.endpoint?.();
    return new URL(url).host === `${endpoint?.hostname}:${endpoint?.port}`;
  },
  "redrive-allow-policy": async ({ sqs }) => {
    const RedriveAllowPolicy = JSON.stringify({ redrivePermission: "denyAll" });
    const create = new CreateQueueCommand({ QueueName: probeName(), Attributes: { RedriveAllowPolicy } });
    if (await isRefused(sqs.send(create))) return false;
    const queue = await makeQueue(sqs, { RedriveAllowPolicy });
    return (await attribute(sqs, queue, "RedriveAllowPolicy"))?.includes("denyAll") === true;
  },
  "counts-after-visibility": async ({ sqs }) => {
    const queue = await makeQueue(sqs);
    await sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: "x" }));
    await mustReceive(sqs, queue, 1);
    return within(
      4_000,
      async () =>
        (await attribute(sqs, queue, "ApproximateNumberOfMessages")) === "1" &&
        (await attribute(sqs, queue, "ApproximateNumberOfMessagesNotVisible")) === "0",
    );
  },
};

async function makeQueue(
  sqs: SQSClient,
  attributes: Partial<Record<QueueAttributeName, string>> = {},
): Promise<ProbeQueue> {
  const { QueueUrl: url = "" } = await sqs.send(
    new CreateQueueCommand({ QueueName: probeName(), Attributes: attributes }),
  );
  return { url, arn: (await attribute(sqs, { url }, "QueueArn")) ?? "" };
}

async function makeLane(sqs: SQSClient): Promise<{ queue: ProbeQueue; dlq: ProbeQueue }> {
  const dlq = await makeQueue(sqs);
  const policy = JSON.stringify({ deadLetterTargetArn: dlq.arn, maxReceiveCount: 1 });
  return { dlq, queue: await makeQueue(sqs, { RedrivePolicy: policy }) };
}

async function attribute(
  sqs: SQSClient,
  { url }: Pick<ProbeQueue, "url">,
  name: QueueAttributeName,
): Promise<string | undefined> {
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: [name] }));
  return Attributes?.[name];
}

/** A receipt whose message somebody else has received since. */
async function staleReceipt(sqs: SQSClient): Promise<{ queue: ProbeQueue; receipt: string }> {
  const queue = await makeQueue(sqs);
  await sqs.send(new SendMessageCommand({ QueueUrl: queue.url, MessageBody: "x" }));
  const { ReceiptHandle: receipt = "" } = await mustReceive(sqs, queue, 1);
  await mustReceive(sqs, queue, 2);
  return { queue, receipt };
}

async function receive(
  sqs: SQSClient,
  { url }: ProbeQueue,
  withinMs: number = PATIENCE_MS,
  visibilityS: number = 60,
): Promise<Message | undefined> {
  let message: Message | undefined;
  await within(withinMs, async () => {
    const { Messages = [] } = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: url,
        VisibilityTimeout: visibilityS,
        MessageSystemAttributeNames: ["All"],
      }),
    );
    message = Messages[0];
    return message !== undefined;
  });
  return message;
}

async function mustReceive(sqs: SQSClient, queue: ProbeQueue, visibilityS: number = 60): Promise<Message> {
  const message = await receive(sqs, queue, PATIENCE_MS, visibilityS);
  if (message === undefined) throw new Error("the message does not come");
  return message;
}
