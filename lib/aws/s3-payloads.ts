import { createHash } from "node:crypto";
import type { S3Client } from "@aws-sdk/client-s3";
import { GetObjectCommand, PutObjectCommand } from "@aws-sdk/client-s3";
import type { Clock, Random } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import type { Payloads } from "../ports/payloads.ts";
import { isNamed, statusOf, toTasklaneError } from "./aws-errors.ts";

/** A put that met another one, and a body that broke off, are tried again so often: the SDK does neither. */
const TRIES_MAX = 4;
/** The longest wait before the second try; doubles with each further one. */
const RETRY_WAIT_MS = 100;

/**
 * What S3 answers to a get of an object that is not there if the role may not list the bucket: it says 403 in place of 404, and names
 * the permission that it looked for. A get that itself is denied names `s3:GetObject`, and one whose key is refused `kms:Decrypt`.
 */
const LIST_DENIED = /not authorized to perform: s3:ListBucket on resource/u;

/** The payloads port on one S3 bucket. */
export class S3Payloads implements Payloads {
  readonly #client: S3Client;
  readonly #bucket: string;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(client: S3Client, bucket: string, clock: Clock, random: Random) {
    this.#client = client;
    this.#bucket = bucket;
    this.#clock = clock;
    this.#random = random;
  }

  async put(key: string, bytes: Uint8Array, options?: { readonly renew?: boolean | undefined }): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#client.send(
          new PutObjectCommand({
            Bucket: this.#bucket,
            Key: key,
            Body: bytes,
            // What is there stays as it is; a renewal writes the same bytes again, since its key holds their hash.
            ...(options?.renew === true ? {} : { IfNoneMatch: "*" }),
            ChecksumSHA256: createHash("sha256").update(bytes).digest("base64"),
          }),
        );
        return;
      } catch (error) {
        // The object is there: a key names its content or its one writer, so it is the one that was to be stored.
        if (statusOf(error) === 412) return;
        // Two puts of one key met, and neither counts yet.
        if (statusOf(error) !== 409 || tries === TRIES_MAX) throw this.#explain(error, "s3:PutObject");
        await this.#pause(tries);
      }
    }
  }

  async get(key: string): Promise<Uint8Array | undefined> {
    for (let tries = 1; ; tries++) {
      let body: { transformToByteArray(): Promise<Uint8Array> } | undefined;
      try {
        const answer = await this.#client.send(new GetObjectCommand({ Bucket: this.#bucket, Key: key }));
        body = answer.Body;
      } catch (error) {
        // Only a clear "no such key" means that it is gone; a bucket that is missing or closed to us is an error.
        if (isNamed(error, "NoSuchKey") || asksToList(error)) return undefined;
        throw this.#explain(error, "s3:GetObject");
      }
      try {
        return body === undefined ? new Uint8Array() : await body.transformToByteArray();
      } catch (error) {
        if (tries === TRIES_MAX) throw this.#explain(error, "s3:GetObject");
        await this.#pause(tries);
      }
    }
  }

  #pause(tries: number): Promise<void> {
    return sleep(this.#clock, this.#random.next() * RETRY_WAIT_MS * 2 ** (tries - 1));
  }

  #explain(error: unknown, action: string): unknown {
    return toTasklaneError(error, { action, resource: `bucket "${this.#bucket}"` });
  }
}

function asksToList(error: unknown): boolean {
  return isNamed(error, "AccessDenied") && error instanceof Error && LIST_DENIED.test(error.message);
}
