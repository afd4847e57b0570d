import type { DynamoDBClientConfig } from "@aws-sdk/client-dynamodb";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { S3Client } from "@aws-sdk/client-s3";
import { SQSClient } from "@aws-sdk/client-sqs";
import type { Endpoints } from "../task/topology.ts";

/** SDK clients of the caller's own, used as they are: their timeouts, retries, credentials and endpoints count. */
export interface SdkClients {
  readonly sqs?: SQSClient | undefined;
  readonly dynamodb?: DynamoDBClient | undefined;
  readonly s3?: S3Client | undefined;
}

/** One client for each service, and how to let go of those that were made here. */
export interface AwsClients {
  readonly sqs: SQSClient;
  readonly dynamodb: DynamoDBClient;
  readonly s3: S3Client;
  /** Closes the clients that were made here; given ones stay open. */
  close(): void;
}

/** Where clients connect to: the part of a topology that concerns them. */
export interface Target {
  readonly region?: string | undefined;
  readonly endpoint?: string | Endpoints | undefined;
}

/*
 * Timeouts and attempts are set on purpose, since the SDK's own default is to wait for ever. All clients use the SDK's
 * `standard` mode: full jitter from 50 ms (1 s when throttled), and a budget of retries that runs dry in an outage.
 * The longest that a call can take is about attempts × time plus the waits: 13 s for the ledger, 16 s for the queue.
 */
/** A new connection that takes longer is tried again. */
const CONNECT_TIMEOUT_MS = 2_000;
/** A queue's call, but for the long poll. */
const SQS_TIMEOUT_MS = 5_000;
const SQS_ATTEMPTS = 3;
/** A receive may take this much longer than the wait it asks for. */
const LONG_POLL_MARGIN_MS = 5_000;
/** A ledger's call: its usual time is below 10 ms, and a lease runs meanwhile. */
const DYNAMODB_TIMEOUT_MS = 3_000;
const DYNAMODB_ATTEMPTS = 4;
/** A payload has up to 10 MiB. */
const S3_TIMEOUT_MS = 30_000;
const S3_ATTEMPTS = 3;
/** Sockets for each service: a few batches of concurrent writes at once. Idle ones are kept open for the next call. */
const SOCKETS_MAX = 64;
/** What an emulator is told where the topology names no region. */
const EMULATOR_REGION = "us-east-1";
/** What an emulator on this machine is told in place of real credentials. */
const EMULATOR_CREDENTIALS = { accessKeyId: "test", secretAccessKey: "test" };

/** How long a receive may take at the HTTP level, in milliseconds, so that the long poll is not taken for a hang. */
export function receiveTimeout(waitMs: number): number {
  return waitMs + LONG_POLL_MARGIN_MS;
}

/** Settles an endpoint: one address each, or `undefined` for AWS. */
export function settleEndpoints(endpoint: string | Endpoints | undefined): Endpoints | undefined {
  return typeof endpoint === "string" ? { sqs: endpoint, dynamodb: endpoint, s3: endpoint } : endpoint;
}

/**
 * Makes the three SDK clients for a topology, or takes those that are given. Where the topology names no endpoint the SDK follows
 * `AWS_ENDPOINT_URL` by itself, as emulators set it in a function's environment.
 */
export function makeClients(target: Target, given: SdkClients = {}): AwsClients {
  const endpoints = settleEndpoints(target.endpoint);
  const sqs =
    given.sqs ??
    new SQSClient({
      ...clientOptions(target, endpoints?.sqs, { timeoutMs: SQS_TIMEOUT_MS, attempts: SQS_ATTEMPTS }),
      // Else the SDK prefers the host in a queue's URL, which an emulator may have made up for other callers than this one.
      ...(namesEndpoint("SQS") ? { useQueueUrlAsEndpoint: false } : {}),
    });
  const dynamodb =
    given.dynamodb ??
    new DynamoDBClient(
      clientOptions(target, endpoints?.dynamodb, { timeoutMs: DYNAMODB_TIMEOUT_MS, attempts: DYNAMODB_ATTEMPTS }),
    );
  const s3 =
    given.s3 ??
    new S3Client({
      ...clientOptions(target, endpoints?.s3, { timeoutMs: S3_TIMEOUT_MS, attempts: S3_ATTEMPTS }),
      // Emulators do not resolve a bucket's own host name.
      forcePathStyle: endpoints !== undefined || namesEndpoint("S3"),
      // The reader of a payload checks its hash itself: a damaged object ends the task, and must not look like an outage.
      responseChecksumValidation: "WHEN_REQUIRED",
    });
  return {
    sqs,
    dynamodb,
    s3,
    close: () => {
      if (given.sqs === undefined) sqs.destroy();
      if (given.dynamodb === undefined) dynamodb.destroy();
      if (given.s3 === undefined) s3.destroy();
    },
  };
}

/** Whether the environment sends a service's calls elsewhere than to AWS. */
function namesEndpoint(service: "SQS" | "S3"): boolean {
  return [process.env[`AWS_ENDPOINT_URL_${service}`], process.env["AWS_ENDPOINT_URL"]].some(Boolean);
}

/** What the three clients have in common, and the SDK gives no name of its own. */
type ClientOptions = Pick<
  DynamoDBClientConfig,
  "region" | "endpoint" | "credentials" | "maxAttempts" | "retryMode" | "requestHandler"
>;

function clientOptions(
  target: Target,
  endpoint: string | undefined,
  patience: { timeoutMs: number; attempts: number },
): ClientOptions {
  const region = target.region ?? (endpoint === undefined ? undefined : EMULATOR_REGION);
  return {
    ...(region === undefined ? {} : { region }),
    // By the client and not by the environment: only so does SQS take the endpoint before the host in a queue's URL.
    ...(endpoint === undefined ? {} : { endpoint }),
    // Real credentials have no business on a plain connection to this machine, and an emulator must work without any.
    ...(endpoint !== undefined && isPlainLoopback(endpoint) ? { credentials: EMULATOR_CREDENTIALS } : {}),
    maxAttempts: patience.attempts,
    retryMode: "standard",
    requestHandler: {
      connectionTimeout: CONNECT_TIMEOUT_MS,
      requestTimeout: patience.timeoutMs,
      // Without it the SDK logs a warning and goes on waiting.
      throwOnRequestTimeout: true,
      // Also bounds the time between two parts of a body, which the request's own timeout does not.
      socketTimeout: Math.max(patience.timeoutMs, receiveTimeout(20_000)),
      httpAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
      httpsAgent: { keepAlive: true, maxSockets: SOCKETS_MAX },
    },
  };
}

function isPlainLoopback(endpoint: string): boolean {
  const url = URL.canParse(endpoint) ? new URL(endpoint) : undefined;
  return url?.protocol === "http:" && /^(?:127\.\d+\.\d+\.\d+|localhost|.+\.localhost|\[::1\])$/.test(url.hostname);
}
