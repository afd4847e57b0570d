import { DynamoDBClient, ListTablesCommand } from "@aws-sdk/client-dynamodb";
import { ListBucketsCommand, S3Client } from "@aws-sdk/client-s3";
import { ListQueuesCommand, SQSClient } from "@aws-sdk/client-sqs";

const CALL_MAX_MS = 30_000;

/** What SDK clients of an emulator have in common. */
const common = (endpoint: string) => ({
  endpoint,
  region: "us-east-1",
  credentials: { accessKeyId: "test", secretAccessKey: "test" },
  maxAttempts: 5,
});

const CALLS = {
  sqs: (endpoint: string, abortSignal: AbortSignal) =>
    new SQSClient(common(endpoint)).send(new ListQueuesCommand({}), { abortSignal }),
  dynamodb: (endpoint: string, abortSignal: AbortSignal) =>
    new DynamoDBClient(common(endpoint)).send(new ListTablesCommand({}), { abortSignal }),
  s3: (endpoint: string, abortSignal: AbortSignal) =>
    new S3Client({ ...common(endpoint), forcePathStyle: true }).send(new ListBucketsCommand({}), { abortSignal }),
};

/** Makes one real call to each service. @throws Error that names the service that does not answer */
export async function checkServices(endpoint: string, services: readonly (keyof typeof CALLS)[]): Promise<void> {
  for (const service of services) {
    try {
      await CALLS[service](endpoint, AbortSignal.timeout(CALL_MAX_MS));
    } catch (error) {
      throw new Error(`${service} at ${endpoint} does not answer: ${String(error)}`, { cause: error });
    }
  }
}
