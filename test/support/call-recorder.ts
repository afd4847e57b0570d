import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import type { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import type { S3Client } from "@aws-sdk/client-s3";
import type { SQSClient } from "@aws-sdk/client-sqs";
import { makeClients } from "../../lib/aws/clients.ts";
import { LANES } from "../../lib/task/lane.ts";
import type { Topology } from "../../lib/task/topology.ts";

/** One call to a service, as IAM sees it. */
export interface RecordedCall {
  /** As a policy names it: `sqs:SendMessage`. */
  readonly action: string;
  /** `queue/normal`, `dead-letters/normal`, `table`, `table/index/created` or `bucket/` with the object's key. */
  readonly resource: string;
  /** The partition keys of the items that are meant, as far as the request names them: what `dynamodb:LeadingKeys` is about. */
  readonly leadingKeys: readonly string[];
}

/** Real SDK clients that note each call. */
export interface CallRecorder {
  /** To be passed as `sdk`. */
  readonly sdk: { readonly sqs: SQSClient; readonly dynamodb: DynamoDBClient; readonly s3: S3Client };
  readonly calls: readonly RecordedCall[];
  close(): void;
}

/** The IAM action of each command that has no more than one. A command that is missing here cannot be recorded. */
const ACTIONS: Readonly<Record<string, string>> = {
  SendMessage: "sqs:SendMessage",
  SendMessageBatch: "sqs:SendMessage",
  ReceiveMessage: "sqs:ReceiveMessage",
  DeleteMessage: "sqs:DeleteMessage",
  DeleteMessageBatch: "sqs:DeleteMessage",
  ChangeMessageVisibility: "sqs:ChangeMessageVisibility",
  ChangeMessageVisibilityBatch: "sqs:ChangeMessageVisibility",
  GetQueueAttributes: "sqs:GetQueueAttributes",
  GetItem: "dynamodb:GetItem",
  BatchGetItem: "dynamodb:BatchGetItem",
  PutItem: "dynamodb:PutItem",
  UpdateItem: "dynamodb:UpdateItem",
  DeleteItem: "dynamodb:DeleteItem",
  Query: "dynamodb:Query",
  PutObject: "s3:PutObject",
  GetObject: "s3:GetObject",
};

/** Parameters of PutObject that ask for a permission beside `s3:PutObject`. */
const OBJECT_EXTRAS: Readonly<Record<string, string>> = {
  ACL: "s3:PutObjectAcl",
  Tagging: "s3:PutObjectTagging",
  ObjectLockMode: "s3:PutObjectRetention",
};

/** Makes clients for a topology that note what they are asked to do, whether or not it is answered. */
export function recordCalls(topology: Topology): CallRecorder {
  const clients = makeClients(topology);
  const unrecorded = makeClients(topology);
  const calls: RecordedCall[] = [];
  for (const service of ["sqs", "dynamodb", "s3"] as const) {
    // The three stacks differ only in the types of inputs and outputs, which are read by name.
    const stack = clients[service].middlewareStack as unknown as SQSClient["middlewareStack"];
    stack.add(
      (next, context) => async (args) => {
        const { commandName } = context as { commandName?: string };
        calls.push(...readCalls(topology, String(commandName).replace(/Command$/, ""), { ...args.input }));
        return next(args);
      },
      { step: "initialize", name: "tasklaneRecorder" },
    );
  }
  answerRefusals(clients.dynamodb, unrecorded.dynamodb);
  return {
    sdk: { sqs: clients.sqs, dynamodb: clients.dynamodb, s3: clients.s3 },
    calls,
    close: () => {
      clients.close();
      unrecorded.close();
    },
  };
}

/** What a command asks for. @throws Error if it is none that IAM's action is known of */
function readCalls(topology: Topology, command: string, input: Readonly<Record<string, unknown>>): RecordedCall[] {
  const action = ACTIONS[command];
  if (action === undefined) throw new Error(`Which IAM action is it that ${command} needs?`);
  if (action.startsWith("sqs:")) return [{ action, resource: queueOf(topology, input["QueueUrl"]), leadingKeys: [] }];
  if (action.startsWith("s3:")) {
    if (input["Bucket"] !== topology.bucket) throw new Error(`A bucket of somebody else: ${input["Bucket"]}`);
    const extras = Object.entries(OBJECT_EXTRAS).flatMap(([name, extra]) => (input[name] === undefined ? [] : [extra]));
    return [action, ...extras].map((each) => ({ action: each, resource: `bucket/${input["Key"]}`, leadingKeys: [] }));
  }
  const requests = input["RequestItems"] as Record<string, { Keys: unknown[] }> | undefined;
  const tables = requests === undefined ? [input["TableName"]] : Object.keys(requests);
  if (tables.some((table) => table !== topology.table)) throw new Error(`A table of somebody else: ${tables}`);
  const index = input["IndexName"];
  const keys = Object.values(requests ?? {}).flatMap(({ Keys }) => Keys);
  const items = [...keys, input["Key"], input["Item"]].filter((item) => item !== undefined);
  return [
    {
      action,
      resource: index === undefined ? "table" : `table/index/${index}`,
      leadingKeys: items.map((item) => (item as { pk: { S: string } }).pk.S),
    },
  ];
}

function queueOf(topology: Topology, url: unknown): string {
  for (const lane of LANES) {
    if (topology.lanes[lane]?.url === url) return `queue/${lane}`;
    if (topology.lanes[lane]?.dlq === url) return `dead-letters/${lane}`;
  }
  throw new Error(`A queue of somebody else: ${url}`);
}

/**
 * DynamoDB answers a refused write with the item that stood in its way, if asked to; the embedded one does not, and has the ledger
 * make a read that needs a permission of its own.
 */
function answerRefusals(client: DynamoDBClient, reader: DynamoDBClient): void {
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        const input = args.input as {
          TableName?: string;
          Key?: Record<string, { S: string }>;
          Item?: Record<string, { S: string }>;
          ReturnValuesOnConditionCheckFailure?: string;
        };
        const { pk, sk } = input.Key ?? input.Item ?? {};
        const refused = error instanceof Error && error.name === "ConditionalCheckFailedException";
        if (
          refused &&
          input.ReturnValuesOnConditionCheckFailure === "ALL_OLD" &&
          pk !== undefined &&
          sk !== undefined
        ) {
          const key = { TableName: input.TableName, Key: { pk, sk }, ConsistentRead: true };
          Object.assign(error, { Item: (await reader.send(new GetItemCommand(key))).Item });
        }
        throw error;
      }
    },
    { step: "initialize", name: "tasklaneRefusals" },
  );
}
