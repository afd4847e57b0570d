import { DynamoDBClient, CreateTableCommand } from "@aws-sdk/client-dynamodb";
import type { Message } from "@aws-sdk/client-sqs";
import {
  ChangeMessageVisibilityCommand,
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import type { Context, SQSEvent, SQSMessageAttributes, SQSRecord } from "aws-lambda";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { InterferingProxy } from "../support/interfering-proxy.ts";
import { startProxy } from "../support/interfering-proxy.ts";

/** A function as Lambda calls it. */
export type PlainFunction = (event: SQSEvent, context: Context) => Promise<unknown>;

/** What one delivery came to. */
export interface Delivery {
  readonly ids: readonly string[];
  readonly response: unknown;
  readonly error: unknown;
  /** The ids that Lambda deletes. */
  readonly deleted: readonly string[];
}

/** Real queues and tables without Tasklane, and a stand-in for the event source that reads its answers as AWS does. */
export interface PlainHost {
  readonly sdk: { readonly sqs: SQSClient; readonly dynamodb: DynamoDBClient };
  /** Between the clients and SQS; another between them and DynamoDB. */
  readonly sqsProxy: InterferingProxy;
  readonly dynamodbProxy: InterferingProxy;
  /** Makes a queue, and answers its URL. */
  createQueue(name: string, attributes?: Record<string, string>): Promise<string>;
  /** Makes a table with these keys, all texts. */
  createTable(name: string, keys: readonly string[]): Promise<void>;
  send(queueUrl: string, bodies: readonly string[]): Promise<void>;
  receive(queueUrl: string, waitS?: number, visibilityS?: number): Promise<SQSRecord[]>;
  /** Receives once, calls the function, and deletes what its answer says. `undefined` if there was no message. */
  deliver(queueUrl: string, handler: PlainFunction, waitS?: number): Promise<Delivery | undefined>;
  /** Deletes records, but for those that failed: they are shown again at once. */
  finish(queueUrl: string, records: readonly SQSRecord[], failed: ReadonlySet<string>): Promise<void>;
  /** Resolves once no call of the clients is under way, nor one that follows from it. */
  idle(): Promise<void>;
  counts(queueUrl: string): Promise<{ visible: number; delayed: number; inFlight: number }>;
  close(): Promise<void>;
}

const CREDENTIALS = { accessKeyId: "test", secretAccessKey: "test" };

/** Starts the embedded stack behind proxies. */
export async function startPlainHost(): Promise<PlainHost> {
  const stack: EmbeddedStack = await startEmbeddedStack();
  const sqsProxy = await startProxy(stack.endpoints.sqs);
  const dynamodbProxy = await startProxy(stack.endpoints.dynamodb);
  const common = { region: "us-east-1", credentials: CREDENTIALS };
  const sqs = new SQSClient({ ...common, endpoint: sqsProxy.url });
  const dynamodb = new DynamoDBClient({ ...common, endpoint: dynamodbProxy.url });

  let calls = 0;
  const counted = async <Answer>(call: () => Promise<Answer>): Promise<Answer> => {
    calls += 1;
    try {
      return await call();
    } finally {
      calls -= 1;
    }
  };
  sqs.middlewareStack.add((next) => (args) => counted(() => next(args)), { step: "initialize" });
  dynamodb.middlewareStack.add((next) => (args) => counted(() => next(args)), { step: "initialize" });

  async function idle(): Promise<void> {
    for (let quiet = 0; quiet < 5; quiet = calls === 0 ? quiet + 1 : 0)
      await new Promise((resolve) => setImmediate(resolve));
  }

  async function receive(queueUrl: string, waitS = 0, visibilityS = 60): Promise<SQSRecord[]> {
    const answer = await sqs.send(
      new ReceiveMessageCommand({
        QueueUrl: queueUrl,
        MaxNumberOfMessages: 10,
        WaitTimeSeconds: waitS,
        VisibilityTimeout: visibilityS,
        MessageAttributeNames: ["All"],
        MessageSystemAttributeNames: ["All"],
      }),
    );
    return (answer.Messages ?? []).map((message) => recordOf(message, queueUrl));
  }

  async function show(queueUrl: string, records: readonly SQSRecord[]): Promise<void> {
    for (const { receiptHandle } of records)
      await sqs.send(
        new ChangeMessageVisibilityCommand({ QueueUrl: queueUrl, ReceiptHandle: receiptHandle, VisibilityTimeout: 0 }),
      );
  }

  async function remove(queueUrl: string, records: readonly SQSRecord[]): Promise<void> {
    if (records.length === 0) return;
    const Entries = records.map(({ receiptHandle }, place) => ({ Id: String(place), ReceiptHandle: receiptHandle }));
    await sqs.send(new DeleteMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
  }

  return {
    sdk: { sqs, dynamodb },
    sqsProxy,
    dynamodbProxy,
    async createQueue(name, attributes = {}) {
      const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: name, Attributes: attributes }));
      return QueueUrl ?? "";
    },
    async createTable(name, keys) {
      await dynamodb.send(
        new CreateTableCommand({
          TableName: name,
          BillingMode: "PAY_PER_REQUEST",
          AttributeDefinitions: keys.map((key) => ({ AttributeName: key, AttributeType: "S" })),
          KeySchema: keys.map((key, place) => ({ AttributeName: key, KeyType: place === 0 ? "HASH" : "RANGE" })),
        }),
      );
    },
    async send(queueUrl, bodies) {
      for (let start = 0; start < bodies.length; start += 10) {
        const Entries = bodies
          .slice(start, start + 10)
          .map((body, place) => ({ Id: String(place), MessageBody: body }));
        await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
      }
    },
    receive,
    async deliver(queueUrl, handler, waitS) {
      const records = await receive(queueUrl, waitS);
      if (records.length === 0) return undefined;
      const ids = records.map(({ messageId }) => messageId);
      const { response, error } = await invoke(handler, { Records: records });
      const kept = new Set(error === undefined ? keptBy(response, ids) : ids);
      const done = records.filter(({ messageId }) => !kept.has(messageId));
      await remove(queueUrl, done);
      return { ids, response, error, deleted: done.map(({ messageId }) => messageId) };
    },
    async finish(queueUrl, records, failed) {
      const fails = (record: SQSRecord): boolean => failed.has(record.messageId);
      await remove(
        queueUrl,
        records.filter((record) => !fails(record)),
      );
      await show(queueUrl, records.filter(fails));
    },
    idle,
    async counts(queueUrl) {
      const { Attributes: counts } = await sqs.send(
        new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["All"] }),
      );
      return {
        visible: Number(counts?.ApproximateNumberOfMessages),
        delayed: Number(counts?.ApproximateNumberOfMessagesDelayed),
        inFlight: Number(counts?.ApproximateNumberOfMessagesNotVisible),
      };
    },
    async close() {
      sqs.destroy();
      dynamodb.destroy();
      await Promise.all([sqsProxy.close(), dynamodbProxy.close()]);
      await stack.close();
    },
  };
}

/** Calls a function with an event, as Lambda does. */
export async function invoke(
  handler: PlainFunction,
  event: SQSEvent,
  remainingMs = 60_000,
): Promise<{ response: unknown; error: unknown }> {
  try {
    return {
      response: await handler(
        event,
        contextOf(() => remainingMs),
      ),
      error: undefined,
    };
  } catch (error) {
    return { response: undefined, error };
  }
}

/** A context with the time that is left. */
export function contextOf(getRemainingTimeInMillis: () => number): Context {
  return {
    callbackWaitsForEmptyEventLoop: false,
    functionName: "plain",
    functionVersion: "1",
    invokedFunctionArn: "arn:aws:lambda:us-east-1:000000000000:function:plain",
    memoryLimitInMB: "128",
    awsRequestId: "request",
    logGroupName: "log",
    logStreamName: "log",
    getRemainingTimeInMillis,
    done: () => undefined,
    fail: () => undefined,
    succeed: () => undefined,
  };
}

/** The rule of AWS: an empty list is success; an id that is not in the batch, or none, fails all of it. */
export function keptBy(response: unknown, ids: readonly string[]): readonly string[] {
  const { batchItemFailures: failures } = (response ?? {}) as { batchItemFailures?: unknown };
  if (failures === undefined || failures === null) return [];
  if (!Array.isArray(failures)) return ids;
  const reported = failures.map((entry: { itemIdentifier?: unknown } | undefined) => entry?.itemIdentifier);
  return reported.every((id) => typeof id === "string" && ids.includes(id)) ? (reported as string[]) : ids;
}

/** A record without a queue behind it. */
export function recordWith(id: string, parts: Partial<SQSRecord> = {}): SQSRecord {
  return {
    messageId: id,
    receiptHandle: `receipt of ${id}`,
    body: id,
    attributes: {
      ApproximateReceiveCount: "1",
      SentTimestamp: "0",
      SenderId: "test",
      ApproximateFirstReceiveTimestamp: "0",
    },
    messageAttributes: {},
    md5OfBody: "",
    eventSource: "aws:sqs",
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:plain",
    awsRegion: "us-east-1",
    ...parts,
  };
}

function recordOf(message: Message, queueUrl: string): SQSRecord {
  const name = new URL(queueUrl).pathname.split("/").at(-1);
  const attributes: SQSMessageAttributes = {};
  for (const [key, { DataType = "", StringValue, BinaryValue }] of Object.entries(message.MessageAttributes ?? {}))
    attributes[key] = {
      dataType: DataType,
      stringValue: StringValue,
      binaryValue: BinaryValue === undefined ? undefined : Buffer.from(BinaryValue).toString("base64"),
    };
  const whole = recordWith(message.MessageId ?? "", {
    receiptHandle: message.ReceiptHandle ?? "",
    body: message.Body ?? "",
    messageAttributes: attributes,
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${name}`,
  });
  return { ...whole, attributes: { ...whole.attributes, ...message.Attributes } };
}
