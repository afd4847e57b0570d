import middy from "@middy/core";
import type { SQSEvent } from "aws-lambda";
import { partialBatchResponse, visibilityHeartbeat } from "tasklane/lambda";
import { deliver } from "./smtp.ts";

const deliverAll = async (event: SQSEvent) =>
  Promise.allSettled(event.Records.map(async (record) => deliver(JSON.parse(record.body))));

export const handler = middy(deliverAll).use([visibilityHeartbeat(), partialBatchResponse()]);
