import { createLambdaWorker } from "tasklane/lambda";
import { sent } from "./mail-handlers.ts";
import { sendMail } from "./mail-tasks.ts";

// Behind the old queue and the lanes at once: what old producers send becomes a task, what `enqueue` sent is one already.
export const handler = createLambdaWorker({
  handlers: [sent],
  decode: ({ eventSourceARN, body }) =>
    eventSourceARN.endsWith(":mails") ? { task: sendMail, input: JSON.parse(body) } : undefined,
});
