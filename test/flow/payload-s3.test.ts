import { PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { afterAll, afterEach, beforeAll, expect, test } from "vitest";
import { z } from "zod";
import { createClient } from "../../lib/client.ts";
import type { TasklaneClient } from "../../lib/client.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import { systemRandom } from "../../lib/system.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";
import type { Topology } from "../../lib/task/topology.ts";
import { createWorker } from "../../lib/worker.ts";
import type { InterferingProxy } from "../support/interfering-proxy.ts";
import { s3Denied, s3Error, startProxy } from "../support/interfering-proxy.ts";
import { noise } from "../support/payload-texts.ts";

const carry = defineTask({ name: "carry", input: z.string(), output: z.object({ length: z.number() }) });
const LARGE = noise(150_000);

let stack: EmbeddedStack;
let proxy: InterferingProxy;
let topology: Topology;
let client: TasklaneClient;
const events: TasklaneEvent[] = [];
const stop = new AbortController();
let running: Promise<unknown>;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  proxy = await startProxy(stack.endpoints.s3);
  const spec = { queue: "payloads", lanes: ["normal"] } as const;
  topology = await provision(spec, { endpoint: { ...stack.endpoints, s3: proxy.url }, region: "us-east-1" });
  client = createClient({ topology });
  running = createWorker({
    topology,
    handlers: [carry.handle((text) => ({ length: text.length }))],
    log: () => undefined,
    scheduler: false,
    onEvent: (event) => events.push(event),
    // No jitter: a task that has to wait waits for the least time.
    random: { ...systemRandom, next: () => 0 },
  }).run({ signal: stop.signal });
});
afterEach(() => {
  proxy.interfere();
  events.length = 0;
});
afterAll(async () => {
  stop.abort();
  await running;
  await client.close();
  await proxy.close();
  await stack.close();
});

test("F25 429, 500, 503, a broken line and a refusal for lack of permission do not end a task", async () => {
  const answers = [
    s3Error(503, "SlowDown"),
    s3Error(500, "InternalError"),
    s3Error(429, "TooManyRequests"),
    // Three tries and the first look has failed; the second fails at once.
    s3Error(403, "AccessDenied"),
    "hang-up" as const,
  ];
  proxy.interfere(async ({ name }, forward) => (name.startsWith("GET") ? (answers.shift() ?? forward()) : forward()));
  const task = await client.enqueue(carry, LARGE);
  expect(await task.result({ timeout: "40s" })).toEqual({ length: LARGE.length });
  expect(answers).toEqual([]);
  expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 1, failures: 0, crashes: 0 });
  expect(events.filter(({ type }) => type === "deferred")).toMatchObject([
    { reason: "unavailable" },
    { reason: "unavailable" },
  ]);
});

test.each([
  { answer: "404", gone: s3Error(404, "NoSuchKey") },
  { answer: "403, since the role may not list", gone: s3Denied("s3:ListBucket", "arn:aws:s3:::bucket") },
])("F25 an object that is not there ends it: $answer", async ({ gone }) => {
  proxy.interfere(async ({ name }, forward) => (name.startsWith("GET") ? gone : forward()));
  const from = proxy.count("GET");
  const task = await client.enqueue(carry, LARGE);
  await expect(task.result({ timeout: "40s" })).rejects.toMatchObject({ code: "TASK_DEAD" });
  expect(await task.get()).toMatchObject({ state: "dead", reason: "PAYLOAD_MISSING", failures: 0 });
  expect(proxy.count("GET") - from).toBeGreaterThanOrEqual(3);
});

test("F26 an object that somebody wrote over ends it", async () => {
  const s3 = new S3Client({
    endpoint: stack.endpoints.s3,
    region: "us-east-1",
    forcePathStyle: true,
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
  // The worker reads only once the object has been written over.
  const { promise: written, resolve } = Promise.withResolvers<void>();
  proxy.interfere(async ({ name }, forward) => {
    if (name.startsWith("GET")) await written;
    return forward();
  });
  const from = proxy.calls.length;
  const task = await client.enqueue(carry, LARGE);
  const put = proxy.calls.slice(from).find(({ name }) => name.startsWith("PUT"));
  const [, bucket = "", ...key] = new URL(put?.name.slice(4) ?? "", proxy.url).pathname.split("/");
  expect(bucket).toBe(topology.bucket);
  expect(key[1]).toBe(task.id);
  await s3.send(
    new PutObjectCommand({ Bucket: bucket, Key: key.join("/"), Body: JSON.stringify(LARGE).replace(/.$/, "'") }),
  );
  resolve();
  await expect(task.result({ timeout: "40s" })).rejects.toMatchObject({ code: "TASK_DEAD" });
  expect(await task.get()).toMatchObject({ state: "dead", reason: "PAYLOAD_CORRUPT", failures: 0 });
  s3.destroy();
});

test("F24 an enqueue whose object is not taken accepts nothing; one whose put was taken and not answered goes on", async () => {
  proxy.interfere(async ({ name }, forward) => (name.startsWith("PUT") ? s3Error(403, "AccessDenied") : forward()));
  await expect(client.enqueue(carry, LARGE, { idempotencyKey: "once" })).rejects.toMatchObject({
    code: "PERMISSION_DENIED",
  });
  let hangUps = 0;
  proxy.interfere(async ({ name }, forward) => {
    const reply = await forward();
    if (!name.startsWith("PUT") || hangUps > 0) return reply;
    hangUps++;
    return "hang-up";
  });
  const task = await client.enqueue(carry, LARGE, { idempotencyKey: "once" });
  expect(task.duplicate).toBe(false);
  expect(hangUps).toBe(1);
  expect(await task.result({ timeout: "40s" })).toEqual({ length: LARGE.length });
});
