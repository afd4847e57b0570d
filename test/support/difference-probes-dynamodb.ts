import type { AttributeValue, DynamoDBClient } from "@aws-sdk/client-dynamodb";
import {
  BatchExecuteStatementCommand,
  ConditionalCheckFailedException,
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  GetItemCommand,
  PutItemCommand,
  TransactWriteItemsCommand,
  UpdateContinuousBackupsCommand,
  UpdateTimeToLiveCommand,
} from "@aws-sdk/client-dynamodb";
import type { DifferenceId } from "./backend-differences.ts";
import type { DifferenceProbe } from "./difference-site.ts";
import { isRefused, probeName } from "./difference-site.ts";

const ACTIVE_MAX_MS = 10_000;

/** Each resolves true if DynamoDB is here as it is at AWS. */
export const DYNAMODB_PROBES: Readonly<Record<DifferenceId<"DynamoDB">, DifferenceProbe>> = {
  "refusal-without-item": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    await db.send(new PutItemCommand({ TableName, Item: { pk: { S: "a" }, n: { N: "7" } } }));
    try {
      await db.send(
        new PutItemCommand({
          TableName,
          Item: { pk: { S: "a" } },
          ConditionExpression: "attribute_not_exists(pk)",
          ReturnValuesOnConditionCheckFailure: "ALL_OLD",
        }),
      );
    } catch (error) {
      return error instanceof ConditionalCheckFailedException && error.Item?.["n"]?.N === "7";
    }
    return false;
  },
  transactions: async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const Put = { TableName, Item: { pk: { S: "a" } } };
    return !(await isRefused(db.send(new TransactWriteItemsCommand({ TransactItems: [{ Put }] }))));
  },
  "transaction-units": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const Put = { TableName, Item: { pk: { S: "a" }, text: { S: "x".repeat(1_500) } } };
    try {
      const { ConsumedCapacity } = await db.send(
        new TransactWriteItemsCommand({ TransactItems: [{ Put }], ReturnConsumedCapacity: "INDEXES" }),
      );
      // Two units for each started KiB.
      return ConsumedCapacity?.[0]?.CapacityUnits === 4;
    } catch {
      return false;
    }
  },
  "statement-batches": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    return (await statement(db, `INSERT INTO "${TableName}" VALUE {'pk': 'a'}`)) === "done";
  },
  "statement-or": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    await db.send(new PutItemCommand({ TableName, Item: { pk: { S: "a" }, n: { N: "1" } } }));
    const text = `UPDATE "${TableName}" SET m = 1 WHERE pk = 'a' AND (n = 1 OR n = 2)`;
    return (await statement(db, text)) === "done";
  },
  "index-units": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const { ConsumedCapacity } = await db.send(
      new PutItemCommand({ TableName, Item: { pk: { S: "a" }, ik: { S: "b" } }, ReturnConsumedCapacity: "INDEXES" }),
    );
    return ConsumedCapacity?.CapacityUnits === 2;
  },
  "read-units": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    await db.send(new PutItemCommand({ TableName, Item: { pk: { S: "a" }, text: { S: "x".repeat(6_000) } } }));
    const { ConsumedCapacity } = await db.send(
      new GetItemCommand({
        TableName,
        Key: { pk: { S: "a" } },
        ConsistentRead: true,
        ReturnConsumedCapacity: "TOTAL",
      }),
    );
    return ConsumedCapacity?.CapacityUnits === 2;
  },
  "empty-index-key": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const Item: Record<string, AttributeValue> = { pk: { S: "a" }, ik: { S: "" } };
    return isRefused(db.send(new PutItemCommand({ TableName, Item })));
  },
  "time-to-live": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const TimeToLiveSpecification = { AttributeName: "expiresAt", Enabled: true };
    if (await isRefused(db.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification })))) return false;
    const { TimeToLiveDescription: found } = await db.send(new DescribeTimeToLiveCommand({ TableName }));
    return found?.TimeToLiveStatus === "ENABLED" || found?.TimeToLiveStatus === "ENABLING";
  },
  "point-in-time-recovery": async ({ dynamodb: db }) => {
    const TableName = await makeTable(db);
    const PointInTimeRecoverySpecification = { PointInTimeRecoveryEnabled: true };
    return !(await isRefused(
      db.send(new UpdateContinuousBackupsCommand({ TableName, PointInTimeRecoverySpecification })),
    ));
  },
};

async function statement(db: DynamoDBClient, text: string): Promise<string> {
  try {
    const { Responses } = await db.send(new BatchExecuteStatementCommand({ Statements: [{ Statement: text }] }));
    return Responses?.[0]?.Error?.Code ?? "done";
  } catch (error) {
    return error instanceof Error ? error.name : String(error);
  }
}

async function makeTable(db: DynamoDBClient): Promise<string> {
  const TableName = probeName();
  await db.send(
    new CreateTableCommand({
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: ["pk", "ik"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
      KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
      GlobalSecondaryIndexes: [
        {
          IndexName: "index",
          KeySchema: [{ AttributeName: "ik", KeyType: "HASH" }],
          Projection: { ProjectionType: "KEYS_ONLY" },
        },
      ],
    }),
  );
  const end = Date.now() + ACTIVE_MAX_MS;
  for (;;) {
    const { Table } = await db.send(new DescribeTableCommand({ TableName }));
    if (Table?.TableStatus === "ACTIVE") return TableName;
    if (Date.now() > end) throw new Error(`table ${TableName} does not become active`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
