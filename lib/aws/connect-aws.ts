import type { Backend } from "../ports/backend.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { Topology } from "../task/topology.ts";
import type { SdkClients } from "./clients.ts";
import { makeClients } from "./clients.ts";
import { DynamoLedger } from "./dynamo-ledger.ts";
import { S3Payloads } from "./s3-payloads.ts";
import { SqsQueue } from "./sqs-queue.ts";

/** The three ports on SQS, DynamoDB and S3. Makes no call. */
export function connectAws(topology: Topology, clock: Clock, random: Random, sdk?: SdkClients): Backend {
  const clients = makeClients(topology, sdk);
  return {
    topology,
    queue: new SqsQueue(clients.sqs, topology, clock, random),
    ledger: new DynamoLedger({ client: clients.dynamodb, name: topology.table, clock, random }),
    payloads: new S3Payloads(clients.s3, topology.bucket, clock, random),
    close: clients.close,
  };
}
