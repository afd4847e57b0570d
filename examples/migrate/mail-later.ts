import { createClient } from "tasklane";
import type { Mail } from "./mail-tasks.ts";
import { sendMail } from "./mail-tasks.ts";

const client = createClient();

export async function mailLater(mail: Mail): Promise<string> {
  const task = await client.enqueue(sendMail, mail, { delay: "1m" });
  return task.id;
}
