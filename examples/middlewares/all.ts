import middy from "@middy/core";
import type { SQSEvent } from "aws-lambda";
import { defineRateLimit } from "tasklane";
import { idempotency, partialBatchResponse, rateLimit, visibilityHeartbeat } from "tasklane/lambda";
import { parseMail, sendMail } from "./mails.ts";

const mails = defineRateLimit({ name: "mails", limit: 50, per: "1s" });

const sendMails = async (event: SQSEvent) =>
  Promise.allSettled(event.Records.map(async (record) => sendMail(parseMail(record.body))));

export const handler = middy(sendMails).use([
  visibilityHeartbeat(),
  rateLimit({ limit: mails, table: "mail-limits" }),
  idempotency({ table: "mail-keys", key: (record) => `mails#${parseMail(record.body).id}` }),
  partialBatchResponse(),
]);
