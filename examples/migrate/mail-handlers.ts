import { TerminalError } from "tasklane";
import { deliver } from "./smtp.ts";
import { sendMail } from "./mail-tasks.ts";

export const sent = sendMail.handle(async (mail, ctx) => {
  await ctx.progress({ stage: "connecting" }); // BullMQ: job.updateProgress
  if (mail.to.endsWith(".invalid")) throw new TerminalError("no such domain"); // BullMQ: UnrecoverableError
  return deliver(mail, ctx.signal);
});
