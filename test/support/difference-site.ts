import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { Endpoints } from "../../lib/task/topology.ts";

/** Plain SDK clients of one backend: no adapter of ours stands between a probe and what it looks at. */
export interface DifferenceSite {
  readonly SQS: SQSClient;
  readonly DynamoDB: DynamoDBClient;
  readonly S3: S3Client;
  close(): void;
}

/** Longer than any answer that a probe waits for. */
const REQUEST_MAX_MS = 30_000;

/** Makes the clients. A service that a backend does not have is given its address all the same, and not called. */
export function differenceSite(endpoint: string | Endpoints): DifferenceSite {
  const endpoints = typeof endpoint === "string" ? { sqs: endpoint, dynamodb: endpoint, s3: endpoint } : endpoint;
  const common = {
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    // A probe sees the first answer, not what a third try makes of it.
    maxAttempts: 1,
    requestHandler: { requestTimeout: REQUEST_MAX_MS, throwOnRequestTimeout: true },
  };
  const SQS = new SQSClient({ ...common, endpoint: endpoints.sqs });
  const DynamoDB = new DynamoDBClient({ ...common, endpoint: endpoints.dynamodb });
  const S3 = new S3Client({ ...common, endpoint: endpoints.s3, forcePathStyle: true });
  return {
    SQS,
    DynamoDB,
    S3,
    close: () => {
      SQS.destroy();
      DynamoDB.destroy();
      S3.destroy();
    },
  };
}

/** Tells whether a call is refused by the service. An answer that never comes is no refusal. */
export async function isRefused(call: Promise<unknown>): Promise<boolean> {
  try {
    await call;
    return false;
  } catch (error) {
    if (statusOf(error) === undefined) throw error;
    return true;
  }
}

function statusOf(error: unknown): number | undefined {
  if (typeof error !== "object" || error === null || !("$metadata" in error)) return undefined;
  const { $metadata } = error;
  if (typeof $metadata !== "object" || $metadata === null || !("httpStatusCode" in $metadata)) return undefined;
  return typeof $metadata.httpStatusCode === "number" ? $metadata.httpStatusCode : undefined;
}

/** A name that no other probe has, short enough for any service. */
export function probeName(): string {
  return `probe-${process.pid}-${Date.now().toString(36)}-${++named}`;
}

let named = 0;
