import { App } from "aws-cdk-lib";
import { Match, Template } from "aws-cdk-lib/assertions";
import { BUNDLING_STACKS } from "aws-cdk-lib/cx-api";
import type { SQSEvent } from "aws-lambda";
import type { LambdaSqsRecord } from "tasklane/lambda";
import { createMemoryQueue, startLocal } from "tasklane/testing";
import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { handler as fromRawBodies } from "./from-raw-bodies.ts";
import { handler as withMiddlewares } from "./function-with-middlewares.ts";
import { sent } from "./mail-handlers.ts";
import { mailLater } from "./mail-later.ts";
import { mailNow } from "./mail-now.ts";
import { MailStack } from "./mail-stack.ts";
import type { Mail } from "./mail-tasks.ts";
import { sendMail } from "./mail-tasks.ts";
import { handler as plain } from "./plain-function.ts";

const mail: Mail = { id: "m-1", to: "ada@example.com", text: "Hello" };

/** A record of the old queue. */
function record(messageId: string, body: string): LambdaSqsRecord {
  return {
    messageId,
    receiptHandle: `receipt of ${messageId}`,
    body,
    attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
    eventSourceARN: "arn:aws:sqs:us-east-1:123456789012:mails",
  };
}

/** An event as the types of `@types/aws-lambda` have it. */
function eventOf(...records: readonly LambdaSqsRecord[]): SQSEvent {
  return {
    Records: records.map((each) => ({
      ...each,
      attributes: {
        ApproximateReceiveCount: "1",
        SentTimestamp: "0",
        SenderId: "a producer",
        ApproximateFirstReceiveTimestamp: "0",
      },
      messageAttributes: {},
      md5OfBody: "",
      eventSource: "aws:sqs",
      awsRegion: "us-east-1",
    })),
  };
}

describe("a job of BullMQ's as a task", () => {
  test("a mail with one id is sent once", async () => {
    const queue = createMemoryQueue({ handlers: [sent] });
    const first = await queue.client.enqueue(sendMail, mail);
    expect((await queue.client.enqueue(sendMail, mail)).id).toBe(first.id);
    await queue.drain();
    expect(await first.result()).toEqual({ messageId: "<m-1@example.com>" });
  });

  test("has as many attempts as before, with waits that double", async () => {
    const failing = sendMail.handle(() => {
      throw new Error("the mail service is down");
    });
    const queue = createMemoryQueue({ handlers: [failing] });
    const task = await queue.client.enqueue(sendMail, mail);
    await queue.drain();
    expect(await task.get()).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", attempts: 5, failures: 5 });
    expect(sendMail.backoff).toMatchObject({ initialMs: 1_000, factor: 2 });
  });

  test("a domain that cannot exist ends the task at once", async () => {
    const queue = createMemoryQueue({ handlers: [sent] });
    const task = await queue.client.enqueue(sendMail, { ...mail, to: "ada@nowhere.invalid" });
    await queue.drain();
    expect(await task.get()).toMatchObject({ state: "dead", reason: "TERMINAL", attempts: 1 });
  });
});

describe("from SQS and Lambda of one's own", () => {
  let local: Awaited<ReturnType<typeof startLocal>>;

  beforeAll(async () => {
    local = await startLocal();
    for (const [name, value] of Object.entries(local.env)) vi.stubEnv(name, value);
  });
  afterAll(async () => {
    vi.unstubAllEnvs();
    await local.close();
  });

  test("before: one mail that fails brings the whole batch back", async () => {
    const torn = record("torn", "{");
    await expect(plain(eventOf(record("whole", JSON.stringify(mail)), torn))).rejects.toThrow(SyntaxError);
  });

  test("step 1: the mail that fails comes back alone", async () => {
    vi.spyOn(process.stdout, "write").mockReturnValue(true);
    const event = eventOf(
      record("whole", JSON.stringify(mail)),
      record("torn", "{"),
      record("nobody", JSON.stringify({ ...mail, to: "nobody" })),
    );
    const report = await withMiddlewares(event, { getRemainingTimeInMillis: () => 30_000 } as never);
    vi.restoreAllMocks();
    expect(report).toEqual({ batchItemFailures: [{ itemIdentifier: "torn" }, { itemIdentifier: "nobody" }] });
  });

  test("step 2: a body that an old producer sent becomes a task, and comes twice to no harm", async () => {
    const raw = { Records: [record("first", JSON.stringify(mail))] };
    for (let time = 0; time < 2; time++) expect(await fromRawBodies(raw)).toEqual({ batchItemFailures: [] });
    expect(await local.client.enqueue(sendMail, mail)).toMatchObject({ duplicate: true });
  });

  test("step 2: what is not JSON, or no mail, stays in the old queue", async () => {
    const raw = { Records: [record("torn", "{"), record("nobody", JSON.stringify({ ...mail, to: "nobody" }))] };
    expect(await fromRawBodies(raw)).toEqual({
      batchItemFailures: [{ itemIdentifier: "torn" }, { itemIdentifier: "nobody" }],
    });
  });

  test("step 3: a mail that comes by both ways is one task", async () => {
    const both = { ...mail, id: "m-2" };
    await mailNow(both);
    expect(await fromRawBodies({ Records: [record("second", JSON.stringify(both))] })).toEqual({
      batchItemFailures: [],
    });
    expect(await local.client.enqueue(sendMail, both)).toMatchObject({ duplicate: true, state: "queued" });
  });

  test("a producer gets the task's id", async () => {
    const id = await mailLater({ ...mail, id: "m-3" });
    const { state, notBefore } = await local.client.task(sendMail, id).get();
    expect(state).toBe("queued");
    expect(notBefore - Date.now()).toBeGreaterThan(30_000);
  });
});

describe("the stack of the migration", () => {
  const templates = { function: templateOf("function"), worker: templateOf("worker") };

  test.each([
    ["function", /^Old/],
    ["worker", /^TasksNormalWorker/],
  ] as const)("lets the %s read the old queue, and report what failed", (reader, reads) => {
    const sources = Object.values(
      templates[reader].findResources("AWS::Lambda::EventSourceMapping", {
        Properties: { EventSourceArn: { "Fn::GetAtt": [Match.stringLikeRegexp("^Mails"), "Arn"] } },
      }),
    );
    expect(sources.map(({ Properties }) => Properties)).toMatchObject([
      {
        FunctionName: { Ref: expect.stringMatching(reads) },
        FunctionResponseTypes: ["ReportBatchItemFailures"],
        ScalingConfig: { MaximumConcurrency: 2 },
      },
    ]);
  });

  test("makes and deletes nothing but the event source on the way there and back", () => {
    const kept = (template: Template): string[] =>
      Object.entries(template.toJSON()["Resources"] as Record<string, { Type: string }>)
        .filter(([, { Type }]) => !["AWS::Lambda::EventSourceMapping", "AWS::IAM::Policy"].includes(Type))
        .map(([id]) => id)
        .toSorted();
    expect(kept(templates.worker)).toEqual(kept(templates.function));
    expect(kept(templates.worker).length).toBeGreaterThan(10);
  });
});

function templateOf(reader: "function" | "worker"): Template {
  return Template.fromStack(new MailStack(new App({ context: { [BUNDLING_STACKS]: [] } }), "Mails", { reader }));
}
