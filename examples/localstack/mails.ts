import { defineTask } from "tasklane";
import { z } from "zod";

export const sendMail = defineTask({ name: "send-mail", input: z.object({ to: z.email() }), output: z.string() });

export const handlers = [sendMail.handle(({ to }) => `sent to ${to}`)];
