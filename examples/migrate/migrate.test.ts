import type { LambdaSqsRecord } from "tasklane/lambda";
import { createMemoryQueue, startLocal } from "tasklane/testing";
import { expect, test } from "vitest";
import { handler } from "./from-raw-bodies.ts";
import { sent } from "./mail-handlers.ts";
import { sendMail } from "./mail-tasks.ts";

const mail = { id: "m-1", to: "ada@example.com", text: "Hello" };

test("a mail with one id is sent once", async () => {
  const queue = createMemoryQueue({ handlers: [sent] });
  const first = await queue.client.enqueue(sendMail, mail);
  expect((await queue.client.enqueue(sendMail, mail)).id).toBe(first.id);
  await queue.drain();
  expect(await first.result()).toEqual({ messageId: "<m-1@example.com>" });
});

test("a domain that cannot exist ends the task at once", async () => {
  const queue = createMemoryQueue({ handlers: [sent] });
  const task = await queue.client.enqueue(sendMail, { ...mail, to: "ada@nowhere.invalid" });
  await queue.drain();
  expect(await task.get()).toMatchObject({ state: "dead", reason: "TERMINAL", attempts: 1 });
});

test("a body that an old producer sent becomes a task, and comes twice to no harm", async () => {
  const local = await startLocal();
  process.env["TASKLANE_TOPOLOGY"] = JSON.stringify(local.topology);
  try {
    const record: LambdaSqsRecord = {
      messageId: "6b7f6f6e-0000-4000-8000-000000000001",
      receiptHandle: "the old queue's",
      body: JSON.stringify(mail),
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
      eventSourceARN: "arn:aws:sqs:eu-central-1:123456789012:mails",
    };
    for (let time = 0; time < 2; time++)
      expect(await handler({ Records: [record] })).toEqual({ batchItemFailures: [] });
    expect(await local.client.enqueue(sendMail, mail)).toMatchObject({ duplicate: true });
    // What is not JSON stays in the old queue, and its own redrive policy decides.
    const torn = { ...record, messageId: "torn", body: "{" };
    expect(await handler({ Records: [torn] })).toEqual({ batchItemFailures: [{ itemIdentifier: "torn" }] });
  } finally {
    delete process.env["TASKLANE_TOPOLOGY"];
    await local.close();
  }
});
