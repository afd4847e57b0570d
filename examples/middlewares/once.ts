import middy from "@middy/core";
import { idempotency } from "tasklane/lambda";
import { handler as sendMails } from "./before.ts";
import { parseMail } from "./mails.ts";

export const handler = middy(sendMails).use(
  idempotency({ table: "mail-keys", key: (record) => `mails#${parseMail(record.body).id}` }),
);
