import { GetObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

/** Where the deployed shop puts what it makes: the same bytes under the same key, however often an attempt runs. */
export interface ArtifactBucket {
  put(key: string, bytes: Uint8Array | string, contentType: string): Promise<void>;
  get(key: string): Promise<Uint8Array>;
}

/** A bucket of S3. Nothing is called before the first use. */
export function artifactBucket(
  name: string,
  client: S3Client = new S3Client({ forcePathStyle: isEmulated() }),
): ArtifactBucket {
  return {
    async put(key, bytes, contentType) {
      await client.send(new PutObjectCommand({ Bucket: name, Key: key, Body: bytes, ContentType: contentType }));
    },
    async get(key) {
      const { Body } = await client.send(new GetObjectCommand({ Bucket: name, Key: key }));
      if (Body === undefined) throw new Error(`${key} has no bytes`);
      return Body.transformToByteArray();
    },
  };
}

/** Emulators do not resolve a bucket's own host name. */
function isEmulated(): boolean {
  return process.env["AWS_ENDPOINT_URL"] !== undefined || process.env["AWS_ENDPOINT_URL_S3"] !== undefined;
}
