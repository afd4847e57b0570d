import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { SdkClients } from "../../lib/index.ts";

/** Writes down each call as IAM would judge it: an action and a kind of resource, as in `sqs:SendMessage queue`. */
export class RoleRecorder {
  readonly calls: Set<string> = new Set();
  readonly sdk: SdkClients;

  constructor(endpoint: string) {
    const options = { endpoint, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } };
    const sqs = new SQSClient(options);
    const dynamodb = new DynamoDBClient(options);
    const s3 = new S3Client({ ...options, forcePathStyle: true });
    const note = (service: string, command: string, input: object): void =>
      void this.calls.add(`${service}:${actionOf(command)} ${kindOf(service, input)}`);
    sqs.middlewareStack.add(
      (next, { commandName = "" }) =>
        (args) => {
          note("sqs", commandName, args.input);
          return next(args);
        },
      { step: "initialize" },
    );
    dynamodb.middlewareStack.add(
      (next, { commandName = "" }) =>
        (args) => {
          note("dynamodb", commandName, args.input);
          return next(args);
        },
      { step: "initialize" },
    );
    s3.middlewareStack.add(
      (next, { commandName = "" }) =>
        (args) => {
          note("s3", commandName, args.input);
          return next(args);
        },
      { step: "initialize" },
    );
    this.sdk = { sqs, dynamodb, s3 };
  }
}

/** IAM has one action for the single form of a queue's call and for its batch. */
function actionOf(command: string): string {
  return command.replace(/Command$/, "").replace(/^(SendMessage|DeleteMessage|ChangeMessageVisibility)Batch$/, "$1");
}

function kindOf(service: string, input: object): string {
  const text = (name: string): string => String(Reflect.get(input, name) ?? "");
  if (service === "sqs") return text("QueueUrl").endsWith("-dlq") ? "dead-letter-queue" : "queue";
  if (service === "s3") return "objects";
  return text("IndexName") === "" ? "table" : `index/${text("IndexName")}`;
}
