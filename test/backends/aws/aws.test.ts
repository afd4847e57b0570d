import { DeleteTableCommand, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DeleteBucketCommand, DeleteObjectsCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import { DeleteQueueCommand, SQSClient } from "@aws-sdk/client-sqs";
import { connect } from "../../../lib/connect.ts";
import { provision } from "../../../lib/provision.ts";
import type { Topology } from "../../../lib/task/topology.ts";
import { describeLedgerContract } from "../../contract/ledger.contract.ts";
import { describePayloadsContract } from "../../contract/payloads.contract.ts";
import { describeQueueContract } from "../../contract/queue.contract.ts";
import { askForAws } from "../../support/aws-account.ts";
import type { ContractBackend } from "../../support/contract-backends.ts";
import { AS_AWS } from "../../support/contract-backends.ts";
import { contractStack } from "../../support/contract-stack.ts";
import { describeFlows } from "../../support/flow-suite.ts";

askForAws("some 100 queues and tables, made and removed, and 10,000 requests", 0.05);

/** Removes what a test made. */
async function remove({ lanes, table, bucket }: Topology): Promise<void> {
  const [sqs, dynamodb, s3] = [new SQSClient({}), new DynamoDBClient({}), new S3Client({})];
  for (const { url, dlq } of Object.values(lanes))
    for (const queue of [url, dlq])
      if (queue !== undefined) await sqs.send(new DeleteQueueCommand({ QueueUrl: queue }));
  await dynamodb.send(new DeleteTableCommand({ TableName: table }));
  const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket: bucket }));
  const keys = Contents.flatMap(({ Key }) => (Key === undefined ? [] : [{ Key }]));
  if (keys.length > 0) await s3.send(new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys } }));
  await s3.send(new DeleteBucketCommand({ Bucket: bucket }));
}

let opened = 0;
const AWS: ContractBackend = {
  name: "AWS",
  gaps: AS_AWS,
  clock: "real",
  async open(spec) {
    const topology = await provision({ ...spec, queue: `contract-${Date.now().toString(36)}-${opened++}` });
    const { backend } = await connect(topology, undefined);
    return contractStack(backend, { close: () => remove(topology) });
  },
};

describeQueueContract(AWS);
describeLedgerContract(AWS);
describePayloadsContract(AWS);
describeFlows({ name: "AWS", endpoint: () => undefined, movesMessages: true, remove });
