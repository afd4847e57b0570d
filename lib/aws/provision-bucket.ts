import type { BucketLocationConstraint, LifecycleRule, S3Client } from "@aws-sdk/client-s3";
import {
  CreateBucketCommand,
  GetBucketLifecycleConfigurationCommand,
  GetPublicAccessBlockCommand,
  HeadBucketCommand,
  PutBucketLifecycleConfigurationCommand,
  PutPublicAccessBlockCommand,
} from "@aws-sdk/client-s3";
import { LIFE_CLASSES } from "../task/payload-ref.ts";
import { isNamed, statusOf, toTasklaneError } from "./aws-errors.ts";

/** The region where S3 wants none to be named. */
const HOME_REGION = "us-east-1";
const ALL_BLOCKED = {
  BlockPublicAcls: true,
  BlockPublicPolicy: true,
  IgnorePublicAcls: true,
  RestrictPublicBuckets: true,
} as const;

/** What creating a bucket takes. */
export interface BucketSite {
  readonly client: S3Client;
  readonly region: string;
  /** Whether the service has all of S3. Emulators lack the public access block, and nobody can reach them anyway. */
  readonly isComplete: boolean;
}

/** Creates the bucket for payloads: closed to the public, and with a rule for each life class. */
export async function provisionBucket(site: BucketSite, bucket: string): Promise<void> {
  try {
    await createIfMissing(site, bucket);
    await blockPublicAccess(site, bucket);
    await provisionLifecycle(site, bucket);
  } catch (error) {
    throw toTasklaneError(error, { action: "s3:CreateBucket", resource: `bucket "${bucket}"` });
  }
}

async function createIfMissing(site: BucketSite, bucket: string): Promise<void> {
  try {
    await site.client.send(new HeadBucketCommand({ Bucket: bucket }));
    return;
  } catch (error) {
    if (statusOf(error) !== 404) throw error;
  }
  try {
    await site.client.send(
      new CreateBucketCommand({
        Bucket: bucket,
        ...(site.region === HOME_REGION
          ? {}
          : { CreateBucketConfiguration: { LocationConstraint: site.region as BucketLocationConstraint } }),
      }),
    );
  } catch (error) {
    // Somebody else creates it at the same time: that is as good, if it is the same owner.
    if (!isNamed(error, "BucketAlreadyOwnedByYou")) throw error;
  }
}

async function blockPublicAccess(site: BucketSite, bucket: string): Promise<void> {
  // An emulator may take an unknown setting for something else: a list of objects, or another bucket.
  if (!site.isComplete) return;
  try {
    const { PublicAccessBlockConfiguration: is } = await site.client.send(
      new GetPublicAccessBlockCommand({ Bucket: bucket }),
    );
    if (is?.BlockPublicAcls && is.BlockPublicPolicy && is.IgnorePublicAcls && is.RestrictPublicBuckets) return;
  } catch (error) {
    if (!isNamed(error, "NoSuchPublicAccessBlockConfiguration")) throw error;
  }
  await site.client.send(
    new PutPublicAccessBlockCommand({ Bucket: bucket, PublicAccessBlockConfiguration: ALL_BLOCKED }),
  );
}

async function provisionLifecycle(site: BucketSite, bucket: string): Promise<void> {
  const wished = LIFE_CLASSES.map(
    ({ prefix, days }): LifecycleRule => ({
      ID: `tasklane-${prefix}`,
      Status: "Enabled",
      Filter: { Prefix: `${prefix}/` },
      Expiration: { Days: days },
    }),
  );
  const is = await readRules(site, bucket);
  if (wished.every((rule) => is.some((other) => summarise(other) === summarise(rule)))) return;
  // The call replaces all rules of the bucket, so those of its owner go along.
  const others = is.filter((rule) => wished.every(({ ID }) => ID !== rule.ID));
  await site.client.send(
    new PutBucketLifecycleConfigurationCommand({
      Bucket: bucket,
      LifecycleConfiguration: { Rules: [...others, ...wished] },
    }),
  );
}

async function readRules(site: BucketSite, bucket: string): Promise<LifecycleRule[]> {
  try {
    const answer = await site.client.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }));
    return answer.Rules ?? [];
  } catch (error) {
    if (isNamed(error, "NoSuchLifecycleConfiguration")) return [];
    throw error;
  }
}

function summarise(rule: LifecycleRule): string {
  return [rule.ID, rule.Status, rule.Filter?.Prefix, rule.Expiration?.Days].join(" ");
}
