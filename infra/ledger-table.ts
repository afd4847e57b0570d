import type { RemovalPolicy } from "aws-cdk-lib";
import type { WarmThroughput } from "aws-cdk-lib/aws-dynamodb";
import { AttributeType, BillingMode, ProjectionType, Table, TableEncryption } from "aws-cdk-lib/aws-dynamodb";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { Construct } from "constructs";
import { INDEXES } from "../lib/task/ledger-shape.ts";
import { ATTRIBUTES } from "../lib/task/record-codec.ts";

/** What can be chosen of the ledger. */
export interface LedgerTableOptions {
  readonly removalPolicy: RemovalPolicy;
  readonly pointInTimeRecovery: boolean;
  readonly encryptionKey?: IKey | undefined;
  readonly warmThroughput?: WarmThroughput | undefined;
}

/** Makes the ledger: billed by use, with TTL and the three indexes. */
export function makeLedgerTable(scope: Construct, options: LedgerTableOptions): Table {
  const table = new Table(scope, "Ledger", {
    partitionKey: { name: ATTRIBUTES.partition, type: AttributeType.STRING },
    sortKey: { name: ATTRIBUTES.sort, type: AttributeType.STRING },
    billingMode: BillingMode.PAY_PER_REQUEST,
    timeToLiveAttribute: ATTRIBUTES.expiresAt,
    removalPolicy: options.removalPolicy,
    ...(options.pointInTimeRecovery ? { pointInTimeRecoverySpecification: { pointInTimeRecoveryEnabled: true } } : {}),
    ...(options.encryptionKey === undefined
      ? {}
      : { encryption: TableEncryption.CUSTOMER_MANAGED, encryptionKey: options.encryptionKey }),
    ...(options.warmThroughput === undefined ? {} : { warmThroughput: options.warmThroughput }),
  });
  for (const [indexName, { shard, time }] of Object.entries(INDEXES))
    table.addGlobalSecondaryIndex({
      indexName,
      partitionKey: { name: shard, type: AttributeType.STRING },
      sortKey: { name: time, type: AttributeType.NUMBER },
      projectionType: ProjectionType.KEYS_ONLY,
      // An index keeps up with its table only if it is as warm.
      ...(options.warmThroughput === undefined ? {} : { warmThroughput: options.warmThroughput }),
    });
  return table;
}
