import { Duration, RemovalPolicy, Validations } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { BlockPublicAccess, Bucket, BucketEncryption, ObjectOwnership } from "aws-cdk-lib/aws-s3";
import type { Construct } from "constructs";
import { LIFE_CLASSES } from "../lib/task/payload-ref.ts";

/** What can be chosen of the payload bucket. */
export interface PayloadBucketOptions {
  readonly removalPolicy: RemovalPolicy;
  /** Empties the bucket before it is deleted, where it is deleted at all. */
  readonly autoDeleteObjects: boolean;
  readonly encryptionKey?: IKey | undefined;
}

/** Makes the bucket for payloads: closed to the public, and with a rule for each life class. */
export function makePayloadBucket(scope: Construct, options: PayloadBucketOptions): Bucket {
  const bucket = new Bucket(scope, "Payloads", {
    blockPublicAccess: BlockPublicAccess.BLOCK_ALL,
    objectOwnership: ObjectOwnership.BUCKET_OWNER_ENFORCED,
    enforceSSL: true,
    // A key holds the hash of its object or its one writer, so nothing is ever overwritten, and versions would keep what a rule deletes.
    versioned: false,
    lifecycleRules: LIFE_CLASSES.map(({ prefix, days }) => ({
      id: `tasklane-${prefix}`,
      prefix: `${prefix}/`,
      expiration: Duration.days(days),
    })),
    removalPolicy: options.removalPolicy,
    autoDeleteObjects: options.autoDeleteObjects && options.removalPolicy === RemovalPolicy.DESTROY,
    ...(options.encryptionKey === undefined
      ? { encryption: BucketEncryption.S3_MANAGED }
      : { encryption: BucketEncryption.KMS, encryptionKey: options.encryptionKey, bucketKeyEnabled: true }),
  });
  Validations.of(bucket).acknowledge({
    id: "AwsSolutions-S1",
    reason:
      "Payloads are read and written by workers and producers alone, and the ledger records each of their tasks; access logs would cost more than the bucket.",
  });
  return bucket;
}
