import { CreateTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  CreateQueueCommand,
  DeleteMessageBatchCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import { App } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { BUNDLING_STACKS } from "aws-cdk-lib/cx-api";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import { startLocal } from "tasklane/testing";
import { afterAll, beforeAll, beforeEach, describe, expect, test, vi } from "vitest";
import { handler as all } from "./all.ts";
import { handler as before } from "./before.ts";
import { handler as heartbeat } from "./heartbeat.ts";
import { MailStack } from "./mail-stack.ts";
import { outbox } from "./mails.ts";
import { handler as once } from "./once.ts";
import { handler as partial } from "./partial.ts";
import { handler as throttled } from "./throttled.ts";

/** The function as the event source calls it: the types of its handlers differ. */
type Deployed = (event: SQSEvent, context: never) => Promise<unknown>;

let local: Awaited<ReturnType<typeof startLocal>>;
let sqs: SQSClient;
let queueUrl: string;

beforeAll(async () => {
  local = await startLocal();
  const { endpoint } = local.topology;
  const endpoints = typeof endpoint === "object" ? endpoint : undefined;
  // As an emulator's Lambda sets them; at AWS there are none, and the role's credentials count.
  vi.stubEnv("AWS_ENDPOINT_URL_SQS", endpoints?.sqs);
  vi.stubEnv("AWS_ENDPOINT_URL_DYNAMODB", endpoints?.dynamodb);
  vi.stubEnv("AWS_REGION", "us-east-1");
  vi.stubEnv("AWS_ACCESS_KEY_ID", "test");
  vi.stubEnv("AWS_SECRET_ACCESS_KEY", "test");
  sqs = new SQSClient({ endpoint: endpoints?.sqs ?? "" });
  const { QueueUrl } = await sqs.send(new CreateQueueCommand({ QueueName: "mails" }));
  queueUrl = QueueUrl ?? "";
  const dynamodb = new DynamoDBClient();
  for (const [table, ...keys] of [
    ["mail-keys", "id"],
    ["mail-limits", "pk", "sk"],
  ])
    await dynamodb.send(
      new CreateTableCommand({
        TableName: table,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: keys.map((key) => ({ AttributeName: key, AttributeType: "S" })),
        KeySchema: keys.map((key, place) => ({ AttributeName: key, KeyType: place === 0 ? "HASH" : "RANGE" })),
      }),
    );
});
afterAll(async () => {
  vi.unstubAllEnvs();
  await local.close();
});
beforeEach(() => {
  outbox.length = 0;
});

/** Sends mails, hands them to the function as Lambda does, and deletes what its answer does not name. */
async function deliver(handler: unknown, mails: readonly object[]): Promise<number> {
  const Entries = mails.map((mail, place) => ({ Id: String(place), MessageBody: JSON.stringify(mail) }));
  await sqs.send(new SendMessageBatchCommand({ QueueUrl: queueUrl, Entries }));
  const { Messages = [] } = await sqs.send(new ReceiveMessageCommand({ QueueUrl: queueUrl, MaxNumberOfMessages: 10 }));
  const Records = Messages.map(({ MessageId, ReceiptHandle, Body }) => ({
    messageId: MessageId,
    receiptHandle: ReceiptHandle,
    body: Body,
    attributes: { ApproximateReceiveCount: "1" },
    messageAttributes: {},
    eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:mails",
  })) as unknown as SQSRecord[];
  const response = await (handler as Deployed)({ Records }, { getRemainingTimeInMillis: () => 60_000 } as never);
  const { batchItemFailures = [] } = (response ?? {}) as { batchItemFailures?: { itemIdentifier: string }[] };
  const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  await sqs.send(
    new DeleteMessageBatchCommand({
      QueueUrl: queueUrl,
      Entries: Messages.map(({ MessageId = "", ReceiptHandle }) => ({ Id: MessageId, ReceiptHandle })),
    }),
  );
  return failed.size;
}

test("the page's event of one's own brings one message again", async () => {
  const print = vi.spyOn(console, "log").mockImplementation(() => undefined);
  await import("./try.ts");
  expect(print.mock.calls).toEqual([[{ batchItemFailures: [{ itemIdentifier: "message-1" }] }]]);
  print.mockRestore();
});

describe("a plain SQS handler", () => {
  const ada = { id: "1", to: "ada@example.com" };
  const bob = { id: "2", to: "bob@example.com" };

  test.each([
    ["before", before],
    ["with a heartbeat", heartbeat],
    ["with a rate limit", throttled],
    ["with a report", partial],
  ])("sends its mails %s", async (_, handler) => {
    expect(await deliver(handler, [ada, bob])).toBe(0);
    expect(outbox.map(({ id }) => id).sort()).toEqual(["1", "2"]);
  });

  test("with a report sends the others of a batch once", async () => {
    expect(await deliver(partial, [ada, { id: "3", to: "nowhere" }, bob])).toBe(1);
    expect(outbox.map(({ id }) => id).sort()).toEqual(["1", "2"]);
  });

  test("with keys sends each mail once", async () => {
    expect(await deliver(once, [{ ...ada, id: "once" }])).toBe(0);
    expect(await deliver(once, [{ ...ada, id: "once" }])).toBe(0);
    expect(outbox).toHaveLength(1);
  });

  test("with all four sends each mail once, and reports the one that failed", async () => {
    expect(
      await deliver(all, [
        { ...ada, id: "a" },
        { id: "b", to: "nowhere" },
      ]),
    ).toBe(1);
    expect(await deliver(all, [{ ...ada, id: "a" }])).toBe(0);
    expect(outbox.map(({ id }) => id)).toEqual(["a"]);
  });
});

describe("the stack of the mails", () => {
  const template = Template.fromStack(new MailStack(new App({ context: { [BUNDLING_STACKS]: [] } }), "Mails"));

  test("allows the function what the four middlewares need", () => {
    const policies = Object.values(template.findResources("AWS::IAM::Policy"));
    const actions = policies.flatMap((policy) => {
      const { Statement } = (
        policy as { Properties: { PolicyDocument: { Statement: { Action: string | string[] }[] } } }
      ).Properties.PolicyDocument;
      return Statement.flatMap(({ Action }) => Action);
    });
    expect(new Set(actions)).toEqual(
      new Set([
        "sqs:ReceiveMessage",
        "sqs:DeleteMessage",
        "sqs:ChangeMessageVisibility",
        "sqs:GetQueueAttributes",
        "sqs:GetQueueUrl",
        "sqs:SendMessage",
        "dynamodb:PutItem",
        "dynamodb:UpdateItem",
        "dynamodb:DeleteItem",
        "dynamodb:GetItem",
      ]),
    );
  });

  test("reports failures, and allows the loop of throttled messages", () => {
    const source = { Properties: { FunctionResponseTypes: ["ReportBatchItemFailures"] } };
    const sender = { Properties: { RecursiveLoop: "Allow" } };
    expect(Object.keys(template.findResources("AWS::Lambda::EventSourceMapping", source))).toHaveLength(1);
    expect(Object.keys(template.findResources("AWS::Lambda::Function", sender))).toHaveLength(1);
  });
});
