import { TasklaneError } from "../../task/errors.ts";
import type { SqsRecord } from "./batch.ts";

/** The endpoint of SQS that an emulator sets in a function's environment. */
export function sqsEndpoint(): string | undefined {
  return process.env["AWS_ENDPOINT_URL_SQS"] ?? process.env["AWS_ENDPOINT_URL"];
}

/**
 * The URL of the queue that a record came from, as its ARN tells it.
 *
 * @throws TasklaneError `OPTION_INVALID` if the record has no ARN of a queue
 */
export function queueUrlOf(record: SqsRecord): string {
  const [, partition, service, region, account, name] = record.eventSourceARN.split(":");
  if (service !== "sqs" || !region || !account || !name)
    throw new TasklaneError("OPTION_INVALID", {
      what: "The event does not tell which queue it came from",
      received: record.eventSourceARN,
      expected: "arn:aws:sqs:<region>:<account>:<name>",
      fix: "pass { queueUrl }",
    });
  const host = `https://sqs.${region}.amazonaws.com${partition === "aws-cn" ? ".cn" : ""}`;
  return `${sqsEndpoint()?.replace(/\/+$/, "") ?? host}/${account}/${name}`;
}
