import type { TaskInput } from "tasklane";
import { defineRateLimit, defineTask } from "tasklane";
import { z } from "zod";

const smtp = defineRateLimit({ name: "smtp", limit: 50, per: "1s" }); // BullMQ: limiter: { max: 50, duration: 1000 }

export const sendMail = defineTask({
  name: "send-mail", // BullMQ: the job's name
  input: z.object({ id: z.string(), to: z.email(), text: z.string() }),
  output: z.object({ messageId: z.string() }),
  idempotencyKey: (mail) => mail.id, // BullMQ: jobId
  maxRetries: 4, // BullMQ: attempts: 5
  backoff: { initial: "1s", factor: 2, max: "15m" }, // BullMQ: backoff: { type: "exponential", delay: 1000, jitter: 1 }
  rateLimit: smtp,
});

export type Mail = TaskInput<typeof sendMail>;
