import { createHash } from "node:crypto";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../lib/connect.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import { provision } from "../../lib/provision.ts";
import { PAYLOAD_MAX_BYTES } from "../../lib/task/limits.ts";
import type { InterferingProxy } from "../support/interfering-proxy.ts";
import { s3Denied, s3Error, startProxy } from "../support/interfering-proxy.ts";

const BYTES = new TextEncoder().encode("some bytes");

let stack: EmbeddedStack;
let proxy: InterferingProxy;
let backend: Backend;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  const topology = await provision({ queue: "payloads" }, { endpoint: stack.endpoints });
  proxy = await startProxy(stack.endpoints.s3);
  ({ backend } = await connect({ ...topology, endpoint: { ...stack.endpoints, s3: proxy.url } }, undefined));
});
afterAll(async () => {
  backend.close();
  await proxy.close();
  await stack.close();
});
afterEach(() => {
  proxy.interfere();
  proxy.calls.length = 0;
});

describe("a put", () => {
  test("keeps what is there, and carries the hash of its bytes", async () => {
    await backend.payloads.put("d30/hash", BYTES);
    expect(proxy.calls[0]?.headers).toMatchObject({
      "if-none-match": "*",
      "x-amz-checksum-sha256": createHash("sha256").update(BYTES).digest("base64"),
    });
  });

  test("is done if the object is already there", async () => {
    proxy.interfere(async () => s3Error(412, "PreconditionFailed"));
    await backend.payloads.put("d30/there", BYTES);
    expect(proxy.count("PUT")).toBe(1);
  });

  test("that met another one is tried again", async () => {
    let left = 2;
    proxy.interfere((_, forward) =>
      left-- > 0 ? Promise.resolve(s3Error(409, "ConditionalRequestConflict")) : forward(),
    );
    await backend.payloads.put("d30/raced", BYTES);
    expect(proxy.count("PUT")).toBe(3);
    expect(await backend.payloads.get("d30/raced")).toEqual(BYTES);
  });

  test("that meets another one again and again fails", async () => {
    proxy.interfere(async () => s3Error(409, "ConditionalRequestConflict"));
    await expect(backend.payloads.put("d30/raced", BYTES)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    expect(proxy.count("PUT")).toBe(4);
  });

  test("takes the largest payload", async () => {
    const bytes = new Uint8Array(PAYLOAD_MAX_BYTES).fill(7);
    await backend.payloads.put("d30/large", bytes);
    expect(Buffer.compare((await backend.payloads.get("d30/large")) ?? new Uint8Array(), bytes)).toBe(0);
  });
});

describe("a get", () => {
  test("F25 takes only a clear answer for absence", async () => {
    expect(await backend.payloads.get("d30/nothing")).toBeUndefined();
    const answers = [
      { reply: s3Error(403, "AccessDenied"), code: "PERMISSION_DENIED" },
      { reply: s3Denied("s3:GetObject", "arn:aws:s3:::bucket/d30/nothing"), code: "PERMISSION_DENIED" },
      { reply: s3Denied("kms:Decrypt", "arn:aws:kms:us-east-1:111122223333:key/k"), code: "PERMISSION_DENIED" },
      { reply: s3Error(404, "NoSuchBucket"), code: "RESOURCE_MISSING" },
      { reply: s3Error(503, "SlowDown"), code: "BACKEND_UNAVAILABLE" },
      { reply: s3Error(500, "InternalError"), code: "BACKEND_UNAVAILABLE" },
    ];
    for (const { reply, code } of answers) {
      proxy.interfere(async () => reply);
      await expect(backend.payloads.get("d30/nothing")).rejects.toMatchObject({ code });
    }
  });

  test("F25 takes S3's wish for s3:ListBucket for absence: a role without it is told of no other", async () => {
    proxy.interfere(async () => s3Denied("s3:ListBucket", "arn:aws:s3:::bucket"));
    expect(await backend.payloads.get("d30/nothing")).toBeUndefined();
    expect(proxy.count("GET")).toBe(1);
  });

  test("gives back what is stored, damaged or not: its reader checks the hash", async () => {
    await backend.payloads.put("d30/damaged", BYTES);
    proxy.interfere(async (_, forward) => {
      const reply = await forward();
      return { ...reply, body: Buffer.from("other byte") };
    });
    expect(await backend.payloads.get("d30/damaged")).toEqual(new TextEncoder().encode("other byte"));
  });
});

test("a get whose answer breaks off is tried again", async () => {
  const bytes = new Uint8Array(200_000).fill(7);
  await backend.payloads.put("d30/broken", bytes);
  proxy.calls.length = 0;
  let left = 2;
  proxy.interfere(async (_, forward) => {
    const reply = await forward();
    return left-- > 0 ? { ...reply, breaksAt: 100_000 } : reply;
  });
  expect(await backend.payloads.get("d30/broken")).toEqual(bytes);
  expect(proxy.count("GET")).toBe(3);
  left = Infinity;
  await expect(backend.payloads.get("d30/broken")).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
});

test("a bucket that does not exist is named", async () => {
  const { backend: lost } = await connect({ ...backend.topology, bucket: "nowhere" }, undefined);
  const error = { code: "RESOURCE_MISSING", message: expect.stringContaining('bucket "nowhere"') };
  await expect(lost.payloads.put("d30/x", BYTES)).rejects.toMatchObject(error);
  await expect(lost.payloads.get("d30/x")).rejects.toMatchObject(error);
  lost.close();
});
