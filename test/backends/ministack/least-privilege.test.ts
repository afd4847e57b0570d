import { createHash } from "node:crypto";
import { Template } from "aws-cdk-lib/assertions";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { TaskQueue } from "../../../infra/index.ts";
import type { TasklaneClient, Topology } from "../../../lib/index.ts";
import {
  createClient,
  createScheduler,
  defineRateLimit,
  defineTask,
  provision,
  SnoozeError,
  TerminalError,
} from "../../../lib/index.ts";
import { createLambdaWorker } from "../../../lib/lambda/index.ts";
import { makeStack, resourcesOf, statementsOf } from "../../infra/support/synth.ts";
import { contextOf, EventSource } from "../../lambda/event-source.ts";
import { RoleRecorder } from "../../support/role-recorder.ts";
import { endpointOf } from "../../support/emulator-backends.ts";

/** More than a side item holds, and of a kind that does not shrink. */
const LARGE = Array.from({ length: 700 }, (_, at) => createHash("sha256").update(String(at)).digest("base64")).join("");
const work = defineTask({
  name: "work",
  input: z.object({
    does: z.enum(["succeed", "fail", "die", "snooze", "large", "slow", "child"]),
    text: z.string().optional(),
  }),
  output: z.string(),
  backoff: { initial: "1s", factor: 1, max: "1s" },
  rateLimit: defineRateLimit({ name: "work", limit: 50, burst: 50 }),
});
const handlers = [
  work.handle(async ({ does, text = "" }, ctx) => {
    await ctx.progress({ at: does });
    if (does === "fail" && ctx.attempt === 1) throw new Error("once");
    if (does === "die") throw new TerminalError("for good");
    if (does === "snooze" && ctx.attempt === 1) throw new SnoozeError("1s");
    if (does === "slow") await new Promise((resolve) => setTimeout(resolve, 2_500));
    if (does === "child") await ctx.enqueue(work, { does: "succeed", text: "child" });
    return does === "large" ? text : does;
  }),
];

/** What the policies of a role allow, as the recorder writes it. */
function allowedBy(give: (queue: TaskQueue, role: IGrantable) => unknown, ofScheduler = false): ReadonlySet<string> {
  const stack = makeStack();
  const queue = new TaskQueue(stack, "Tasks");
  give(queue, new Role(stack, "Probed", { assumedBy: new AccountRootPrincipal() }));
  const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
  const its = policies.filter(([id]) => id.includes(ofScheduler ? "SchedulerRole" : "Probed"));
  const statements = statementsOf(Object.fromEntries(its));
  return new Set(
    statements.flatMap(({ actions, resources }) =>
      actions.flatMap((action) => resources.map((resource) => `${action} ${kindOf(resource)}`)),
    ),
  );
}

function kindOf(resource: string): string {
  const index = /\/index\/(\w+)$/.exec(resource)?.[1];
  if (index !== undefined) return `index/${index}`;
  if (resource.startsWith("<TasksLedger")) return "table";
  if (resource.startsWith("<TasksPayloads")) return "objects";
  return resource.includes("DeadLetters") ? "dead-letter-queue" : "queue";
}

function outside(calls: Iterable<string>, allowed: ReadonlySet<string>): string[] {
  return [...calls].filter((call) => !allowed.has(call)).toSorted();
}

describe("each role makes only calls that its policy allows", () => {
  let opened = 0;

  async function open(): Promise<{ topology: Topology; recorder: RoleRecorder; everything: TasklaneClient }> {
    const queue = `roles-${Date.now().toString(36)}-${opened++}`;
    const topology = await provision({ queue, lanes: ["normal"] }, { endpoint: endpointOf("ministack") });
    return { topology, recorder: new RoleRecorder(endpointOf("ministack")), everything: createClient({ topology }) };
  }

  test("a producer", async () => {
    const { topology, recorder } = await open();
    const client = createClient({ topology, sdk: recorder.sdk });
    await client.enqueue(work, { does: "succeed" }, { idempotencyKey: "one" });
    await client.enqueue(work, { does: "succeed" }, { idempotencyKey: "one" });
    await client.enqueue(work, { does: "large", text: LARGE }, { delay: "20m" });
    await client.enqueueMany(
      work,
      Array.from({ length: 25 }, () => ({ input: { does: "succeed" as const, text: "y".repeat(5_000) } })),
    );
    const allowed = allowedBy((queue, role) => queue.grants.enqueue(role));
    expect(outside(recorder.calls, allowed)).toEqual([]);
    // Nothing else is allowed, but for what marks a task as owed where the queue does not take its message.
    expect([...allowed].filter((call) => !recorder.calls.has(call))).toEqual(["dynamodb:UpdateItem table"]);
  });

  test("a worker", async () => {
    const { topology, recorder, everything } = await open();
    for (const does of ["succeed", "fail", "die", "snooze", "slow", "child"] as const)
      await everything.enqueue(work, { does });
    await everything.enqueue(work, { does: "large", text: LARGE });
    await everything.enqueue(work, { does: "large", text: "z".repeat(5_000) });
    const raw = { QueueUrl: topology.lanes.normal?.url ?? "", MessageBody: "no envelope" };
    await new SQSClient({
      endpoint: endpointOf("ministack"),
      region: "us-east-1",
      credentials: { accessKeyId: "test", secretAccessKey: "test" },
    }).send(new SendMessageCommand(raw));
    const source = new EventSource(topology);
    const worker = createLambdaWorker({
      handlers,
      topology,
      sdk: recorder.sdk,
      lease: "1s",
      log: () => undefined,
      writeMetrics: () => undefined,
    });
    const end = Date.now() + 40_000;
    while ((await source.count()) > 0 && Date.now() < end) {
      const event = await source.receive(60, 1);
      if (event.Records.length > 0) await source.conclude(event, await worker(event, contextOf(60_000)));
    }
    expect(await source.count()).toBe(0);
    const allowed = allowedBy((queue, role) => queue.grants.consume(role));
    expect(outside(recorder.calls, allowed)).toEqual([]);
    for (const call of [
      "sqs:ChangeMessageVisibility queue",
      "sqs:SendMessage dead-letter-queue",
      "s3:PutObject objects",
    ])
      expect(recorder.calls).toContain(call);
  });

  test("the scheduler", async () => {
    const { topology, recorder, everything } = await open();
    await everything.enqueue(work, { does: "large", text: LARGE }, { delay: "20m" });
    const dlq = { QueueUrl: topology.lanes.normal?.dlq ?? "", MessageBody: "a stranger's" };
    await new SQSClient({
      endpoint: endpointOf("ministack"),
      region: "us-east-1",
      credentials: { accessKeyId: "test", secretAccessKey: "test" },
    }).send(new SendMessageCommand(dlq));
    const { buried } = await createScheduler({ topology, sdk: recorder.sdk }).run();
    expect(buried).toBe(1);
    const allowed = allowedBy(() => undefined, true);
    expect(outside(recorder.calls, allowed)).toEqual([]);
  });

  test("a reader, and an operator", async () => {
    const { topology, recorder, everything } = await open();
    const dead = await everything.enqueue(work, { does: "die", text: LARGE });
    const source = new EventSource(topology);
    const worker = createLambdaWorker({ handlers, topology, log: () => undefined, writeMetrics: () => undefined });
    const event = await source.receive(60, 5);
    await source.conclude(event, await worker(event, contextOf(60_000)));
    const reader = createClient({ topology, sdk: recorder.sdk });
    expect(await reader.task(work, dead.id).get()).toMatchObject({ state: "dead" });
    const listed = [];
    for await (const task of reader.list({ state: "dead" })) listed.push(task.id);
    for await (const task of reader.list({ task: "work" })) listed.push(task.id);
    expect(listed).toContain(dead.id);
    await expect(reader.task(work, dead.id).result()).rejects.toMatchObject({ code: "TASK_DEAD" });
    expect(
      outside(
        recorder.calls,
        allowedBy((queue, role) => queue.grants.read(role)),
      ),
    ).toEqual([]);
    const operated = new RoleRecorder(endpointOf("ministack"));
    const operator = createClient({ topology, sdk: operated.sdk });
    await operator.task(work, dead.id).redrive({ input: { does: "succeed", text: LARGE } });
    await operator.task(work, dead.id).cancel("enough");
    const allowed = allowedBy((queue, role) => queue.grants.operate(role));
    expect(outside(operated.calls, allowed)).toEqual([]);
    // The proof can fail: what an operator does is more than a reader may.
    expect(
      outside(
        operated.calls,
        allowedBy((queue, role) => queue.grants.read(role)),
      ),
    ).not.toEqual([]);
  });
});
