import { GetQueueAttributesCommand, GetQueueUrlCommand, SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Mail } from "../../../examples/migrate/mail-tasks.ts";
import { sendMail } from "../../../examples/migrate/mail-tasks.ts";
import { endpointOf } from "../../support/emulator-backends.ts";
import { Deployment, sdkAt, until } from "../support/deployment.ts";

const STACK = "Mails";
/** The app imports the package by its own name. */
const APP = "--import ./test/support/resolve-own-name.ts examples/migrate/cdk-app.ts";

const mailOf = (id: string): Mail => ({ id, to: "ada@example.com", text: "Hello" });

/** The steps of docs/migrate.md on real event sources, there and back. */
describe("a plain SQS queue, migrated", () => {
  let sqs: SQSClient;
  let queueUrl: string;
  let deployment: Deployment;

  beforeAll(async () => {
    sqs = new SQSClient(sdkAt(endpointOf("ministack")));
    deployment = readBy("function");
    await deployment.bootstrap();
    await deployment.deploy();
    queueUrl = (await sqs.send(new GetQueueUrlCommand({ QueueName: "mails" }))).QueueUrl ?? "";
  });
  afterAll(() => deployment.close());

  test("step 1: the old function, with middlewares, empties the old queue", async () => {
    await sendRaw(mailOf("m-1"));
    expect(await emptied()).toEqual(["0", "0"]);
  });

  test("step 2: a worker makes tasks of raw bodies, each once, and runs them", async () => {
    await deployed("worker");
    for (let time = 0; time < 2; time++) await sendRaw(mailOf("m-2"));
    await emptied();
    const client = deployment.client(STACK, "Tasks");
    const task = await client.enqueue(sendMail, mailOf("m-2"));
    expect(task.duplicate).toBe(true);
    expect(await task.result({ timeout: "60s" })).toEqual({ messageId: "<m-2@example.com>" });
    expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 1 });
    await client.close();
  });

  test("step 3: what a producer enqueues is run by the same worker", async () => {
    const client = deployment.client(STACK, "Tasks");
    const task = await client.enqueue(sendMail, mailOf("m-3"));
    expect(task.duplicate).toBe(false);
    expect(await task.result({ timeout: "60s" })).toEqual({ messageId: "<m-3@example.com>" });
    await client.close();
  });

  test("and back: the old function reads the old queue again, and tasks still run", async () => {
    await deployed("function");
    await sendRaw(mailOf("m-4"));
    await emptied();
    const client = deployment.client(STACK, "Tasks");
    const task = await client.enqueue(sendMail, mailOf("m-4"));
    // No worker has seen the raw body.
    expect(task.duplicate).toBe(false);
    expect(await task.result({ timeout: "60s" })).toEqual({ messageId: "<m-4@example.com>" });
    await client.close();
    await deployment.destroy();
  });

  async function deployed(reader: "function" | "worker"): Promise<void> {
    deployment.close();
    deployment = readBy(reader);
    await deployment.deploy();
  }

  function readBy(reader: "function" | "worker"): Deployment {
    return new Deployment(endpointOf("ministack"), "ministack", APP, { reader });
  }

  async function sendRaw(mail: Mail): Promise<void> {
    await sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: JSON.stringify(mail) }));
  }

  function emptied(): Promise<(string | undefined)[]> {
    return until(
      async () => {
        const { Attributes = {} } = await sqs.send(
          new GetQueueAttributesCommand({ QueueUrl: queueUrl, AttributeNames: ["All"] }),
        );
        return [Attributes["ApproximateNumberOfMessages"], Attributes["ApproximateNumberOfMessagesNotVisible"]];
      },
      ([visible, hidden]) => visible === "0" && hidden === "0",
      { withinMs: 60_000, everyMs: 1_500 },
    );
  }
});
