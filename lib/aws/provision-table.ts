import type { DynamoDBClient, TableDescription } from "@aws-sdk/client-dynamodb";
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  UpdateTimeToLiveCommand,
} from "@aws-sdk/client-dynamodb";
import type { Clock } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import { TasklaneError } from "../task/errors.ts";
import { INDEXES } from "../task/ledger-shape.ts";
import { ATTRIBUTES } from "../task/record-codec.ts";
import { isNamed, toTasklaneError } from "./aws-errors.ts";

/** A new table takes seconds; this is when somebody should look. */
const ACTIVE_TRIES_MAX = 600;
const ACTIVE_WAIT_FIRST_MS = 20;
const ACTIVE_WAIT_MAX_MS = 1_000;

/** What creating a table takes. */
export interface TableSite {
  readonly client: DynamoDBClient;
  readonly clock: Clock;
  /** Whether the service has all of DynamoDB. Some emulators lack TTL, which only tidies up. */
  readonly isComplete: boolean;
}

/** Creates the ledger's table with its indexes and TTL, and waits until it takes writes. */
export async function provisionTable(site: TableSite, name: string): Promise<void> {
  try {
    if ((await describe(site, name)) === undefined) await create(site, name);
    checkShape(name, await waitUntilActive(site, name));
    await provisionTtl(site, name);
  } catch (error) {
    throw toTasklaneError(error, { action: "dynamodb:CreateTable", resource: `table "${name}"` });
  }
}

async function create(site: TableSite, name: string): Promise<void> {
  const indexes = Object.entries(INDEXES);
  try {
    await site.client.send(
      new CreateTableCommand({
        TableName: name,
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [
          { AttributeName: ATTRIBUTES.partition, AttributeType: "S" },
          { AttributeName: ATTRIBUTES.sort, AttributeType: "S" },
          ...indexes.flatMap(([, { shard, time }]) => [
            { AttributeName: shard, AttributeType: "S" as const },
            { AttributeName: time, AttributeType: "N" as const },
          ]),
        ],
        KeySchema: [
          { AttributeName: ATTRIBUTES.partition, KeyType: "HASH" },
          { AttributeName: ATTRIBUTES.sort, KeyType: "RANGE" },
        ],
        GlobalSecondaryIndexes: indexes.map(([index, { shard, time }]) => ({
          IndexName: index,
          KeySchema: [
            { AttributeName: shard, KeyType: "HASH" },
            { AttributeName: time, KeyType: "RANGE" },
          ],
          Projection: { ProjectionType: "KEYS_ONLY" },
        })),
      }),
    );
  } catch (error) {
    // Somebody else creates it at the same time: that is as good.
    if (!isNamed(error, "ResourceInUseException")) throw error;
  }
}

async function describe(site: TableSite, name: string): Promise<TableDescription | undefined> {
  try {
    return (await site.client.send(new DescribeTableCommand({ TableName: name }))).Table;
  } catch (error) {
    if (isNamed(error, "ResourceNotFoundException")) return undefined;
    throw error;
  }
}

async function waitUntilActive(site: TableSite, name: string): Promise<TableDescription> {
  for (let tries = 1; tries <= ACTIVE_TRIES_MAX; tries++) {
    const table = await describe(site, name);
    if (table?.TableStatus === "ACTIVE") return table;
    await sleep(site.clock, Math.min(ACTIVE_WAIT_MAX_MS, ACTIVE_WAIT_FIRST_MS * tries));
  }
  throw new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `Table "${name}" does not become active`,
    fix: "look at the table in the console, then run provision() again",
  });
}

/** A table cannot change its key, and an index takes hours to add: a table of another shape is not ours to mend. */
function checkShape(name: string, table: TableDescription): void {
  const key = (table.KeySchema ?? []).map(({ AttributeName }) => AttributeName).join(", ");
  const indexes = new Set(table.GlobalSecondaryIndexes?.map(({ IndexName }) => IndexName));
  const missing = Object.keys(INDEXES).filter((index) => !indexes.has(index));
  if (key === `${ATTRIBUTES.partition}, ${ATTRIBUTES.sort}` && missing.length === 0) return;
  throw new TasklaneError("TOPOLOGY_INVALID", {
    what: `Table "${name}" exists, but is no ledger`,
    received: `key ${key}, indexes ${[...indexes].join(", ") || "none"}`,
    expected: `key ${ATTRIBUTES.partition}, ${ATTRIBUTES.sort}, indexes ${Object.keys(INDEXES).join(", ")}`,
    fix: "name the queue differently, or remove that table",
  });
}

async function provisionTtl(site: TableSite, name: string): Promise<void> {
  try {
    const { TimeToLiveDescription: ttl } = await site.client.send(new DescribeTimeToLiveCommand({ TableName: name }));
    const isOn = ttl?.TimeToLiveStatus === "ENABLED" || ttl?.TimeToLiveStatus === "ENABLING";
    if (isOn && ttl.AttributeName === ATTRIBUTES.expiresAt) return;
    await site.client.send(
      new UpdateTimeToLiveCommand({
        TableName: name,
        TimeToLiveSpecification: { AttributeName: ATTRIBUTES.expiresAt, Enabled: true },
      }),
    );
  } catch (error) {
    if (site.isComplete || !isNamed(error, "UnknownOperationException", "UnknownOperation")) throw error;
  }
}
