import type { SQSEvent } from "aws-lambda";
import { parseMail, sendMail } from "./mails.ts";

export async function handler(event: SQSEvent): Promise<void> {
  for (const record of event.Records) await sendMail(parseMail(record.body));
}
