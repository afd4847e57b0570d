import { CloudFormationClient } from "@aws-sdk/client-cloudformation";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { Endpoints } from "../../lib/task/topology.ts";

/** Plain SDK clients of one backend: no adapter of ours stands between a probe and what it looks at. */
export interface DifferenceSite {
  readonly sqs: SQSClient;
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
  /** Only where one emulator has everything. */
  readonly cloudformation: CloudFormationClient;
  /** Lets time go by, there and here. */
  pass(ms: number): Promise<void>;
  close(): void;
}

/** Looks at one thing. Resolves true if it is as at AWS. */
export type DifferenceProbe = (site: DifferenceSite) => Promise<boolean>;

/** Longer than any answer that a probe waits for. */
const REQUEST_MAX_MS = 30_000;

/** Makes the clients. A service that a backend does not have is given its address all the same, and not called. */
export function differenceSite(
  endpoint: string | Endpoints,
  pass: (ms: number) => Promise<void> = waitFor,
): DifferenceSite {
  const endpoints = typeof endpoint === "string" ? { sqs: endpoint, dynamodb: endpoint, s3: endpoint } : endpoint;
  const common = {
    region: "us-east-1",
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
    // A probe sees the first answer, not what a third try makes of it.
    maxAttempts: 1,
    requestHandler: { requestTimeout: REQUEST_MAX_MS, throwOnRequestTimeout: true },
  };
  const sqs = new SQSClient({ ...common, endpoint: endpoints.sqs });
  const dynamodb = new DynamoDBClient({ ...common, endpoint: endpoints.dynamodb });
  const s3 = new S3Client({ ...common, endpoint: endpoints.s3, forcePathStyle: true });
  const cloudformation = new CloudFormationClient({ ...common, endpoint: endpoints.sqs });
  return {
    sqs,
    dynamodb,
    s3,
    cloudformation,
    pass,
    close: () => {
      sqs.destroy();
      dynamodb.destroy();
      s3.destroy();
      cloudformation.destroy();
    },
  };
}

/** Asks again until it is so, or until the time is over. */
export async function within(ms: number, ask: () => Promise<boolean>): Promise<boolean> {
  const end = Date.now() + ms;
  for (;;) {
    if (await ask()) return true;
    if (Date.now() > end) return false;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

async function waitFor(ms: number): Promise<void> {
  const end = Date.now() + ms;
  while (Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 100));
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

/** The status of the service's answer, if there was one. */
export function statusOf(error: unknown): number | undefined {
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
