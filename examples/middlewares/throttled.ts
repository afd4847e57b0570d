import middy from "@middy/core";
import { defineRateLimit } from "tasklane";
import { rateLimit } from "tasklane/lambda";
import { handler as sendMails } from "./before.ts";

const mails = defineRateLimit({ name: "mails", limit: 50, per: "1s" });

export const handler = middy(sendMails).use(rateLimit({ limit: mails, table: "mail-limits" }));
