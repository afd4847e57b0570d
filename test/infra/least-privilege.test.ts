import { randomBytes } from "node:crypto";
import { DeleteItemCommand } from "@aws-sdk/client-dynamodb";
import type { Message } from "@aws-sdk/client-sqs";
import {
  DeleteMessageCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageCommand,
} from "@aws-sdk/client-sqs";
import { Template } from "aws-cdk-lib/assertions";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import { TaskQueue } from "../../infra/index.ts";
import type { AwsClients } from "../../lib/aws/clients.ts";
import { makeClients } from "../../lib/aws/clients.ts";
import {
  createClient,
  createScheduler,
  createWorker,
  defineRateLimit,
  defineTask,
  SnoozeError,
  TerminalError,
} from "../../lib/index.ts";
import type { TasklaneClient, Topology } from "../../lib/index.ts";
import type { LambdaSqsRecord } from "../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../lib/lambda/index.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import { RECORD_SORT_KEY, taskPartition } from "../../lib/task/record-codec.ts";
import { systemClock } from "../../lib/system.ts";
import { contextOf } from "../lambda/event-source.ts";
import type { CallRecorder, RecordedCall } from "../support/call-recorder.ts";
import { recordCalls } from "../support/call-recorder.ts";
import type { Statement } from "./support/synth.ts";
import { makeStack, readable, resourcesOf, statementsOf, WORKER_ENTRY } from "./support/synth.ts";

/*
 * Each role works against the embedded stack with clients that note its calls, as far as its part goes; then the calls are held
 * against the role's policy in the template: none may be missing there, and none may be there for nothing.
 */

const ROLES = ["producer", "worker", "scheduler", "read", "operate"] as const;
type RoleName = (typeof ROLES)[number];

/** What permissions are for that no code of ours makes use of. */
const LOGS = "Lambda writes the function's log with its role";
const MOVE = "whoever starts SQS's own redrive in the console needs it on the source";
const DEPTH = "people and dashboards look at depths, which SQS tells and no call of a client";

/** Permissions that no call was recorded for. Anything else that is not used has to go. */
const UNUSED: Readonly<Record<RoleName, Readonly<Record<string, string>>>> = {
  producer: {},
  worker: { "logs:CreateLogStream on log group": LOGS, "logs:PutLogEvents on log group": LOGS },
  scheduler: { "logs:CreateLogStream on log group": LOGS, "logs:PutLogEvents on log group": LOGS },
  read: {
    "sqs:GetQueueAttributes on dead letter queue": DEPTH,
    "sqs:GetQueueAttributes on lane's queue": DEPTH,
  },
  operate: {
    "sqs:CancelMessageMoveTask on dead letter queue": MOVE,
    "sqs:DeleteMessage on dead letter queue": MOVE,
    "sqs:GetQueueAttributes on dead letter queue": MOVE,
    "sqs:GetQueueAttributes on lane's queue": DEPTH,
    "sqs:ListMessageMoveTasks on dead letter queue": MOVE,
    "sqs:ReceiveMessage on dead letter queue": MOVE,
    "sqs:StartMessageMoveTask on dead letter queue": MOVE,
  },
};

/**
 * What a service asks of the queue's key on the caller's behalf: the emulator has no keys, so this is by AWS's documents.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/sqs-key-management.html
 * https://docs.aws.amazon.com/AmazonS3/latest/userguide/UsingKMSEncryption.html
 * https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/encryption.usagenotes.html
 */
const KEY_ACTIONS: Readonly<Record<string, readonly string[]>> = {
  "sqs:SendMessage": ["kms:GenerateDataKey", "kms:Decrypt"],
  "sqs:ReceiveMessage": ["kms:Decrypt"],
  "s3:PutObject": ["kms:GenerateDataKey"],
  "s3:GetObject": ["kms:Decrypt"],
  "dynamodb:GetItem": ["kms:Decrypt"],
  "dynamodb:PutItem": ["kms:Decrypt"],
};

const PATIENT = { timeout: 60_000 };
const QUIET = { log: (): void => undefined, writeMetrics: (): void => undefined };
const HOUR_MS = 3_600_000;

const text = z.object({ text: z.string() });
const echo = defineTask({
  name: "echo",
  input: text,
  output: text,
  idempotencyKey: ({ text: key }) => key.slice(0, 40),
});
const fail = defineTask({ name: "fail", input: text, maxRetries: 1, backoff: { initial: "1ms", max: "1ms" } });
const die = defineTask({ name: "die", input: text });
const snooze = defineTask({ name: "snooze", input: text });
const parent = defineTask({ name: "parent", input: text });
const wait = defineTask({ name: "wait", input: text });
const limited = defineTask({
  name: "limited",
  input: text,
  rateLimit: defineRateLimit({ name: "supplier", limit: 1, burst: 1 }),
});
const started = new Set<string>();
const handlers = [
  echo.handle((input) => input),
  fail.handle(() => {
    throw new Error("it fails");
  }),
  die.handle(() => {
    throw new TerminalError("it is of no use");
  }),
  snooze.handle((_input, ctx) => {
    if (ctx.attempt === 1) throw new SnoozeError("1s");
  }),
  parent.handle(async (input, ctx) => {
    await ctx.progress({ half: true });
    await ctx.enqueue(echo, { text: `child of ${input.text}` });
    await ctx.enqueue(echo, { text: large("child") });
  }),
  wait.handle(async (_input, { signal, taskId }) => {
    started.add(taskId);
    await new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => reject(signal.reason));
    });
  }),
  limited.handle(() => undefined),
];

/** Above what the ledger takes, whatever the compression. */
function large(name: string): string {
  return `${name} ${randomBytes(20_000).toString("hex")}`;
}

let stack: EmbeddedStack;
let topology: Topology;
/** Does what is no role's doing. */
let plain: AwsClients;
let recorders: Record<RoleName, CallRecorder>;
/** The queue's part in an outage: it takes no message of the producer. */
let refuseSends = false;
let producer: TasklaneClient;
let operator: TasklaneClient;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  topology = await provision({ queue: "privileges" }, { endpoint: stack.endpoints });
  plain = makeClients(topology);
  recorders = {
    producer: recordCalls(topology),
    worker: recordCalls(topology),
    scheduler: recordCalls(topology),
    read: recordCalls(topology),
    operate: recordCalls(topology),
  };
  recorders.producer.sdk.sqs.middlewareStack.add(
    (next, { commandName }: { commandName?: string }) =>
      async (args) => {
        if (!refuseSends || commandName !== "SendMessageBatchCommand") return next(args);
        throw Object.assign(new Error("not now"), { name: "ServiceUnavailable" });
      },
    { step: "build" },
  );
  producer = createClient({ topology, sdk: recorders.producer.sdk });
  operator = createClient({ topology, sdk: recorders.operate.sdk });
});
afterAll(async () => {
  for (const { close } of Object.values(recorders)) close();
  plain.close();
  await stack.close();
});

type Url = string | undefined;
const lane = (): Url => topology.lanes.normal?.url;
const deadLetters = (): Url => topology.lanes.normal?.dlq;

/** Takes messages, as the event source does with the function's role. */
async function receive(sqs: AwsClients["sqs"], url: Url, waitSeconds: number): Promise<Message[]> {
  const { Messages = [] } = await sqs.send(
    new ReceiveMessageCommand({
      QueueUrl: url,
      MaxNumberOfMessages: 10,
      WaitTimeSeconds: waitSeconds,
      MessageSystemAttributeNames: ["All"],
    }),
  );
  return Messages;
}

const worker = (): ReturnType<typeof createLambdaWorker> =>
  createLambdaWorker({ handlers, topology, sdk: recorders.worker.sdk, lease: "1s", ...QUIET });

/** Polls as Lambda does, and calls the function, until something is so. */
async function work(isSo: () => Promise<boolean>): Promise<void> {
  const { sqs } = recorders.worker.sdk;
  const run = worker();
  const end = Date.now() + 30_000;
  await sqs.send(new GetQueueAttributesCommand({ QueueUrl: lane(), AttributeNames: ["All"] }));
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error("It is not so within 30 s.");
    const messages = await receive(sqs, lane(), 1);
    if (messages.length === 0) continue;
    const { batchItemFailures } = await run({ Records: messages.map(recordOf) }, contextOf(60_000));
    const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
    for (const { MessageId = "", ReceiptHandle } of messages)
      if (!failed.has(MessageId)) await sqs.send(new DeleteMessageCommand({ QueueUrl: lane(), ReceiptHandle }));
  }
}

function recordOf({ MessageId = "", ReceiptHandle = "", Body = "", Attributes = {} }: Message): LambdaSqsRecord {
  return {
    messageId: MessageId,
    receiptHandle: ReceiptHandle,
    body: Body,
    attributes: {
      ApproximateReceiveCount: Attributes.ApproximateReceiveCount ?? "1",
      SentTimestamp: Attributes.SentTimestamp ?? "0",
    },
    eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${lane()?.split("/").at(-1)}`,
  };
}

async function stateOf(id: string): Promise<string> {
  return (await createClient({ topology, sdk: plain }).task(echo, id).get()).state;
}

/** The key of a task's record. */
function keyOf(id: string): Record<"pk" | "sk", { S: string }> {
  return { pk: { S: taskPartition(id) }, sk: { S: RECORD_SORT_KEY } };
}

const allAre =
  (state: string, ...tasks: { readonly id: string }[]) =>
  async (): Promise<boolean> =>
    (await Promise.all(tasks.map(({ id }) => stateOf(id)))).every((each) => each === state);

/** Takes every message of a queue away, as if it were lost, and answers them. */
async function lose(url: Url): Promise<Message[]> {
  const lost: Message[] = [];
  for (;;) {
    const messages = await receive(plain.sqs, url, 0);
    if (messages.length === 0) return lost;
    lost.push(...messages);
    for (const { ReceiptHandle } of messages)
      await plain.sqs.send(new DeleteMessageCommand({ QueueUrl: url, ReceiptHandle }));
  }
}

describe("what each role does", () => {
  const big = large("big");

  test("a producer enqueues one, many, large ones, late ones and duplicates", async () => {
    await producer.enqueue(echo, { text: "small" });
    expect(await producer.enqueue(echo, { text: "small" })).toMatchObject({ duplicate: true });
    await producer.enqueue(echo, { text: big });
    expect(await producer.enqueue(echo, { text: big })).toMatchObject({ duplicate: true });
    await producer.enqueue(echo, { text: `side ${"x".repeat(2_000)}` }, { meta: { note: "m".repeat(500) } });
    await producer.enqueue(echo, { text: "far" }, { delay: "2h" });
    await producer.enqueue(echo, { text: "urgent" }, { lane: "critical" });
    expect(await producer.enqueueMany(echo, [{ input: { text: "a" } }, { input: { text: "b" } }])).toHaveLength(2);
    expect((await lose(lane())).length).toBeGreaterThanOrEqual(5);
    // What the queue does not take is marked as owed.
    refuseSends = true;
    const owed = await producer.enqueue(echo, { text: "owed" });
    refuseSends = false;
    expect(await lose(lane())).toEqual([]);
    expect(await stateOf(owed.id)).toBe("queued");
  });

  test("a worker runs, retries, buries, snoozes, limits, enqueues, renews and sees a cancel", PATIENT, async () => {
    const done = [
      await producer.enqueue(echo, { text: "run" }),
      await producer.enqueue(echo, { text: large("run") }),
      await producer.enqueue(snooze, { text: "later" }),
      await producer.enqueue(parent, { text: "parent" }),
      ...(await producer.enqueueMany(limited, [{ input: { text: "1" } }, { input: { text: "2" } }])),
    ];
    await work(allAre("succeeded", ...done));
    const dead = [
      await producer.enqueue(fail, { text: "fail" }),
      await producer.enqueue(die, { text: large("die") }),
      await producer.enqueue(die, { text: "with meta" }, { meta: { note: "m".repeat(500) } }),
    ];
    await work(allAre("dead", ...dead));
    const waiting = await producer.enqueue(wait, { text: "until it is cancelled" });
    const cancelled = allAre("cancelled", waiting);
    const working = work(cancelled);
    await expect.poll(() => started.has(waiting.id), { timeout: 10_000 }).toBe(true);
    expect(await operator.task(wait, waiting.id).cancel("enough")).toBe("running");
    await working;
  });

  test("a worker meets strangers, and tasks whose records are gone", PATIENT, async () => {
    await plain.sqs.send(new SendMessageCommand({ QueueUrl: lane(), MessageBody: "no envelope" }));
    await plain.sqs.send(new SendMessageCommand({ QueueUrl: lane(), MessageBody: large("no envelope") }));
    for (const { id } of await producer.enqueueMany(echo, [{ input: { text: "y" } }, { input: { text: "z" } }]))
      await plain.dynamodb.send(new DeleteItemCommand({ TableName: topology.table, Key: keyOf(id) }));
    const last = await producer.enqueue(echo, { text: "last" });
    await work(allAre("succeeded", last));
    await expect
      .poll(async () => (await lose(deadLetters())).map(({ Body }) => Body).join(" "), { timeout: 10_000 })
      .toContain("no envelope");
  });

  test("the scheduler pays what is owed, finds what is lost, and sweeps dead letters", PATIENT, async () => {
    await lose(lane());
    const lost = await producer.enqueueMany(echo, [{ input: { text: "lost 1" } }, { input: { text: "lost 2" } }]);
    expect(await lose(lane())).toHaveLength(lost.length);
    const pill = await producer.enqueue(echo, { text: "pill" }, { meta: { note: "m".repeat(500) } });
    const [message] = await lose(lane());
    await plain.sqs.send(new SendMessageCommand({ QueueUrl: deadLetters(), MessageBody: message?.Body ?? "" }));
    await plain.sqs.send(new SendMessageCommand({ QueueUrl: deadLetters(), MessageBody: "no envelope" }));
    await plain.sqs.send(new SendMessageCommand({ QueueUrl: deadLetters(), MessageBody: large("no envelope") }));
    let resent = 0;
    for (const aheadMs of [0, HOUR_MS / 2, HOUR_MS, 2 * HOUR_MS]) {
      const clock = { ...systemClock, now: () => systemClock.now() + aheadMs };
      const report = await createScheduler({ topology, sdk: recorders.scheduler.sdk, clock }).run();
      expect(report).toMatchObject({ skipped: false, gauges: { deadTasks: expect.any(Number) } });
      resent += report.resent;
    }
    expect(resent).toBeGreaterThan(0);
    expect(await stateOf(pill.id)).toBe("dead");
  });

  test("a reader looks at tasks, lists and results", PATIENT, async () => {
    const reader = createClient({ topology, sdk: recorders.read.sdk });
    const seen: string[] = [];
    for await (const task of reader.list({ state: "dead" })) seen.push(task.id);
    for await (const task of reader.list({ state: "succeeded" })) {
      seen.push(task.id);
      if (task.task === "echo") await reader.task(echo, task.id).result();
    }
    expect(seen.length).toBeGreaterThan(5);
    for (const id of seen) await reader.task(echo, id).get();
  });

  test("an operator lists, cancels and redrives", PATIENT, async () => {
    const queued = await producer.enqueue(echo, { text: "to be cancelled" });
    expect(await operator.task(echo, queued.id).cancel()).toBe("cancelled");
    const dead: string[] = [];
    for await (const { id, task } of operator.list({ state: "dead" })) if (task === "die") dead.push(id);
    expect(dead).toHaveLength(2);
    for await (const { id } of operator.list({ state: "succeeded" })) await operator.task(echo, id).result();
    const inputs = [undefined, { text: large("other") }];
    for (const [at, id] of dead.entries()) {
      await operator.task(die, id).get();
      await operator.task(die, id).redrive({ input: inputs[at] });
      expect(await stateOf(id)).toBe("queued");
    }
    const failed: string[] = [];
    for await (const { id, task } of operator.list({ state: "dead" })) if (task === "fail") failed.push(id);
    for (const id of failed) await operator.task(fail, id).redrive({ input: { text: "x".repeat(2_000) } });
    expect(failed).toHaveLength(1);
  });

  // The last one: a poll that it leaves behind still takes messages.
  test("a worker process with the same role", PATIENT, async () => {
    const stop = new AbortController();
    const { sdk } = recorders.worker;
    const running = createWorker({ handlers, topology, sdk, scheduler: false, log: QUIET.log }).run({
      signal: stop.signal,
    });
    const task = await producer.enqueue(echo, { text: "by a process" });
    await expect.poll(() => stateOf(task.id), { timeout: 20_000 }).toBe("succeeded");
    stop.abort();
    await running;
  });
});

/** A permission as it is compared with calls: where it reaches, and what kind of place that is. */
interface Permission {
  readonly action: string;
  readonly pattern: string;
  readonly kind: string;
  readonly condition: unknown;
}

const policies = synthesise();

/** The policies of the construct's roles, and of roles with one grant each, from one template. */
function synthesise(): Record<RoleName, readonly Permission[]> {
  const app = makeStack();
  const encryptionKey = new Key(app, "Key");
  const queue = new TaskQueue(app, "Tasks", { workerEntry: WORKER_ENTRY, encryptionKey });
  const role = (id: string): Role => new Role(app, id, { assumedBy: new AccountRootPrincipal() });
  queue.grants.enqueue(role("Producer"));
  queue.grants.read(role("Reader"));
  queue.grants.operate(role("Operator"));
  const template = Template.fromStack(app);
  const places = new Map<string, { pattern: string; kind: string }>();
  const nameOf = (arn: string): string => readable(app.resolve(arn));
  for (const { lane: name, queue: source, deadLetterQueue } of Object.values(queue.lanes)) {
    places.set(nameOf(source.queueArn), { pattern: `queue/${name}`, kind: "lane's queue" });
    places.set(nameOf(deadLetterQueue.queueArn), { pattern: `dead-letters/${name}`, kind: "dead letter queue" });
  }
  places.set(nameOf(encryptionKey.keyArn), { pattern: "key", kind: "key" });
  const table = nameOf(queue.table.tableArn);
  const bucket = nameOf(queue.bucket.bucketArn);
  const placeOf = (resource: string): { pattern: string; kind: string } => {
    const known = places.get(resource);
    if (known !== undefined) return known;
    if (resource === table) return { pattern: "table", kind: "table" };
    const index = resource.startsWith(`${table}/index/`) ? resource.slice(table.length) : undefined;
    if (index !== undefined) return { pattern: `table${index}`, kind: index.slice(1).replace("/", " ") };
    if (resource.startsWith(`${bucket}/`)) return { pattern: `bucket${resource.slice(bucket.length)}`, kind: "object" };
    if (/^<Tasks\w+Logs\.Arn>$/.test(resource)) return { pattern: resource, kind: "log group" };
    throw new Error(`A policy opens ${resource}, of which nothing is known here.`);
  };
  const permissionsOf = (prefix: string): Permission[] => {
    const resources = Object.entries(resourcesOf(template, "AWS::IAM::Policy"));
    const own = resources.filter(([id]) => id.startsWith(`${prefix}DefaultPolicy`));
    expect(own.map(([id]) => id)).toEqual([expect.stringContaining(prefix)]);
    return statementsOf(Object.fromEntries(own)).flatMap(
      ({ effect, actions, resources: reached, condition }: Statement) => {
        expect(effect).toBe("Allow");
        return actions.flatMap((action) => reached.map((resource) => ({ action, condition, ...placeOf(resource) })));
      },
    );
  };
  return {
    producer: permissionsOf("Producer"),
    worker: permissionsOf("TasksWorkerRole"),
    scheduler: permissionsOf("TasksSchedulerRole"),
    read: permissionsOf("Reader"),
    operate: permissionsOf("Operator"),
  };
}

function isAllowed(permissions: readonly Permission[], call: RecordedCall): boolean {
  return permissions.some((permission) => allows(permission, call));
}

function allows({ action, pattern, condition }: Permission, call: RecordedCall): boolean {
  return action === call.action && isLike(call.resource, pattern) && holds(condition, call);
}

/** A text with IAM's wildcard, which spans slashes too. */
function isLike(value: string, pattern: string): boolean {
  const [first = "", ...rest] = pattern.split("*");
  if (rest.length === 0) return value === pattern;
  if (rest.length > 1 || rest[0] !== "") throw new Error(`A pattern that is not understood here: ${pattern}`);
  return value.startsWith(first);
}

/** Only the one condition that there is; another one has to be understood first. */
function holds(condition: unknown, { leadingKeys }: RecordedCall): boolean {
  if (condition === undefined) return true;
  const operator = "ForAllValues:StringLike";
  const { [operator]: keys } = condition as Record<string, Record<string, string[]>>;
  const allowed = keys?.["dynamodb:LeadingKeys"];
  if (allowed === undefined || Object.keys(condition as object).length > 1)
    throw new Error(`A condition that is not understood here: ${JSON.stringify(condition)}`);
  return leadingKeys.every((key) => allowed.some((pattern) => isLike(key, pattern)));
}

/** A resource without the lane or the key: an index by its name. */
function placeName(resource: string): string {
  return resource.startsWith("table") ? resource : (resource.split("/")[0] ?? resource);
}

/** Calls that the policy does not allow, each kind once. */
function missing(permissions: readonly Permission[], calls: readonly RecordedCall[]): string[] {
  const refused = calls.filter((call) => !isAllowed(permissions, call));
  return [...new Set(refused.map(({ action, resource }) => `${action} on ${placeName(resource)}`))].sort();
}

/** Permissions that no call makes use of, by kind of resource: one lane stands for all. */
function unused(permissions: readonly Permission[], calls: readonly RecordedCall[]): string[] {
  const used = new Set<string>();
  for (const permission of permissions)
    if (calls.some((call) => allows(permission, call))) used.add(`${permission.action} on ${permission.kind}`);
  const all = new Set(permissions.map(({ action, kind }) => `${action} on ${kind}`));
  return [...all].filter((each) => !used.has(each)).sort();
}

/** What a role did, and what was asked of the key for it. */
function callsOf(role: RoleName): readonly RecordedCall[] {
  const { calls } = recorders[role];
  const ofKey = calls.flatMap(({ action }) => KEY_ACTIONS[action] ?? []);
  return [...calls, ...ofKey.map((action) => ({ action, resource: "key", leadingKeys: [] }))];
}

describe.each(ROLES)("the policy of the role %s", (role) => {
  test("allows every call that was recorded", () => {
    expect(recorders[role].calls.length).toBeGreaterThan(20);
    expect(missing(policies[role], callsOf(role))).toEqual([]);
  });

  test("allows nothing else, but for what is listed with its reason", () => {
    expect(unused(policies[role], callsOf(role))).toEqual(Object.keys(UNUSED[role]).sort());
  });

  test("is found wanting without any one of the permissions that are used", () => {
    const names = new Set(policies[role].map(({ action, kind }) => `${action} on ${kind}`));
    const used = [...names].filter((name) => !Object.hasOwn(UNUSED[role], name));
    expect(used.length).toBeGreaterThan(5);
    const found = used.map((name) => {
      const fewer = policies[role].filter(({ action, kind }) => `${action} on ${kind}` !== name);
      return { name, findings: missing(fewer, callsOf(role)).length };
    });
    expect(found).toEqual(used.map((name) => ({ name, findings: 1 })));
  });

  test("is found wide with one permission more", () => {
    const more = { action: "dynamodb:DeleteItem", pattern: "table", kind: "table", condition: undefined };
    expect(unused([...policies[role], more], callsOf(role))).toContain("dynamodb:DeleteItem on table");
  });
});

test("a producer is kept from a rate limit's bucket, which is an item of the table too", () => {
  const call = { action: "dynamodb:UpdateItem", resource: "table" };
  const own = { ...call, leadingKeys: [taskPartition("some-id")] };
  expect(missing(policies.producer, [own])).toEqual([]);
  expect(missing(policies.producer, [{ ...call, leadingKeys: ["b#supplier"] }])).toEqual([
    "dynamodb:UpdateItem on table",
  ]);
  expect(missing(policies.worker, [{ ...call, leadingKeys: ["b#supplier"] }])).toEqual([]);
});
