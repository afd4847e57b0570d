import { createClient } from "tasklane";
import type { Mail } from "./mail-tasks.ts";
import { sendMail } from "./mail-tasks.ts";

const client = createClient();

// In place of sqs.send(new SendMessageCommand({ QueueUrl, MessageBody: JSON.stringify(mail) }))
export async function mailNow(mail: Mail): Promise<void> {
  await client.enqueue(sendMail, mail);
}
