import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoLedger } from "../../aws/dynamo-ledger.ts";
import type { SdkClients } from "../../connect.ts";
import { RateLimiter } from "../../control/rate-limit.ts";
import type { Clock, Random } from "../../ports/clock.ts";
import { CLIENT_OPTIONS } from "./clients.ts";

/** The rate limiter on a table: its buckets are the same as those of tasks with that limit. */
export function openLimiter(sdk: SdkClients | undefined, name: string, clock: Clock, random: Random): RateLimiter {
  const client = sdk?.dynamodb ?? new DynamoDBClient(CLIENT_OPTIONS);
  return new RateLimiter(new DynamoLedger({ client, name, clock, random }), clock, random);
}
