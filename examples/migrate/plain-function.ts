import type { SQSEvent } from "aws-lambda";
import { deliver } from "./smtp.ts";

export async function handler(event: SQSEvent): Promise<void> {
  for (const record of event.Records) await deliver(JSON.parse(record.body));
}
