import middy from "@middy/core";
import type { SQSEvent } from "aws-lambda";
import { partialBatchResponse } from "tasklane/lambda";
import { parseMail, sendMail } from "./mails.ts";

const sendMails = async (event: SQSEvent) =>
  Promise.allSettled(event.Records.map(async (record) => sendMail(parseMail(record.body))));

export const handler = middy(sendMails).use(partialBatchResponse());
