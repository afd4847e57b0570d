import { createHash } from "node:crypto";
import type { S3Client } from "@aws-sdk/client-s3";
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  GetPublicAccessBlockCommand,
  PutObjectCommand,
  PutPublicAccessBlockCommand,
} from "@aws-sdk/client-s3";
import type { DifferenceId } from "./backend-differences.ts";
import type { DifferenceProbe } from "./difference-site.ts";
import { isRefused, probeName, statusOf } from "./difference-site.ts";

const MIB = 1_048_576;
const READ_MAX_MS = 3_000;
const Key = "d30/probe/hash";

/** Each resolves true if S3 is here as it is at AWS. */
export const S3_PROBES: Readonly<Record<DifferenceId<"S3">, DifferenceProbe>> = {
  "if-none-match": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    const put = s3.send(new PutObjectCommand({ Bucket, Key, Body: "second", IfNoneMatch: "*" }));
    return (await isPreconditionFailed(put)) && (await read(s3, Bucket)) === "first";
  },
  "if-match": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    const put = s3.send(new PutObjectCommand({ Bucket, Key, Body: "second", IfMatch: '"another"' }));
    return (await isPreconditionFailed(put)) && (await read(s3, Bucket)) === "first";
  },
  "delete-if-match": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    const ETag = `"${createHash("md5").update("first").digest("hex")}"`;
    if (await isRefused(s3.send(new DeleteObjectCommand({ Bucket, Key, IfMatch: ETag })))) return false;
    return isRefused(s3.send(new GetObjectCommand({ Bucket, Key })));
  },
  "large-body": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    return !(await isRefused(s3.send(new PutObjectCommand({ Bucket, Key, Body: Buffer.alloc(12 * MIB) }))));
  },
  "wrong-checksum": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    return isRefused(s3.send(wrongPut(Bucket)));
  },
  "wrong-checksum-damages": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    // Whoever takes what was damaged on its way is another row's business.
    if (!(await isRefused(s3.send(wrongPut(Bucket))))) return true;
    return (await read(s3, Bucket).catch(() => "it cannot be read")) === "first";
  },
  "public-access-block": async ({ s3 }) => {
    const Bucket = await bucketWith(s3, "first");
    const PublicAccessBlockConfiguration = { BlockPublicAcls: true, BlockPublicPolicy: true };
    if (await isRefused(s3.send(new PutPublicAccessBlockCommand({ Bucket, PublicAccessBlockConfiguration }))))
      return false;
    try {
      const found = await s3.send(new GetPublicAccessBlockCommand({ Bucket }));
      return found.PublicAccessBlockConfiguration?.BlockPublicPolicy === true;
    } catch {
      return false;
    }
  },
};

async function isPreconditionFailed(call: Promise<unknown>): Promise<boolean> {
  return call.then(
    () => false,
    (error: unknown) => statusOf(error) === 412,
  );
}

function wrongPut(Bucket: string): PutObjectCommand {
  const ChecksumSHA256 = createHash("sha256").update("other").digest("base64");
  return new PutObjectCommand({ Bucket, Key, Body: "second", ChecksumSHA256 });
}

async function bucketWith(s3: S3Client, body: string): Promise<string> {
  const Bucket = probeName();
  await s3.send(new CreateBucketCommand({ Bucket }));
  await s3.send(new PutObjectCommand({ Bucket, Key, Body: body }));
  return Bucket;
}

async function read(s3: S3Client, Bucket: string): Promise<string | undefined> {
  const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }), {
    abortSignal: AbortSignal.timeout(READ_MAX_MS),
  });
  return Body?.transformToString();
}
