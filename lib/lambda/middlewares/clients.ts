import type { DynamoDBClientConfig } from "@aws-sdk/client-dynamodb";

/** A call takes milliseconds; one that hangs must not take the invocation with it. */
const CONNECT_TIMEOUT_MS = 2_000;
const REQUEST_TIMEOUT_MS = 4_000;
const ATTEMPTS = 3;

/** How patient the clients are that middlewares make for themselves; region and credentials are the function's own. */
export const CLIENT_OPTIONS: Pick<DynamoDBClientConfig, "maxAttempts" | "retryMode" | "requestHandler"> = {
  maxAttempts: ATTEMPTS,
  retryMode: "standard",
  requestHandler: {
    connectionTimeout: CONNECT_TIMEOUT_MS,
    requestTimeout: REQUEST_TIMEOUT_MS,
    // Without it the SDK logs a warning and goes on waiting.
    throwOnRequestTimeout: true,
  },
};
