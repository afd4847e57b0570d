import type { Context, SQSEvent } from "aws-lambda";
import { handler } from "./partial.ts";

const Records = ["ada@example.com", "nobody"].map((to, n) => ({
  messageId: `message-${n}`,
  eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:mails",
  body: JSON.stringify({ id: `mail-${n}`, to }),
}));
const context = { getRemainingTimeInMillis: () => 30_000 } as Context;

console.log(await handler({ Records } as SQSEvent, context));
