import { afterAll, beforeAll, describe, expect, test, vi } from "vitest";
import { createClient, defineTask } from "../../lib/index.ts";
import type { TasklaneClient, TasklaneEvent, Topology } from "../../lib/index.ts";
import type { LambdaSqsRecord } from "../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../lib/lambda/index.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import { z } from "zod";
import { contextOf, EventSource } from "./event-source.ts";

const add = defineTask({ name: "add", input: z.object({ a: z.int(), b: z.int() }), output: z.int() });
const fail = defineTask({ name: "fail", input: z.object({ times: z.int() }), backoff: { initial: "1s", max: "1s" } });
const slow = defineTask({ name: "slow", input: z.object({ ms: z.int() }), timeout: "4s" });
const quiet = { log: (): void => undefined, writeMetrics: (): void => undefined };

let topology: Topology;
let client: TasklaneClient;
let close: () => Promise<void>;
let queues = 0;

beforeAll(async () => {
  const stack = await startEmbeddedStack();
  close = stack.close;
  endpoints = stack.endpoints;
});
afterAll(() => close());

let endpoints: Awaited<ReturnType<typeof startEmbeddedStack>>["endpoints"];

/** A queue of its own for each test. */
async function open(): Promise<EventSource> {
  topology = await provision({ queue: `lambda-${queues++}`, lanes: ["normal"] }, { endpoint: endpoints });
  client = createClient({ topology });
  return new EventSource(topology);
}

const handlers = [
  add.handle(({ a, b }) => a + b),
  fail.handle(({ times }, ctx) => {
    if (ctx.attempt <= times) throw new Error(`attempt ${ctx.attempt} fails`);
  }),
];
const slowHandlers = [slow.handle(({ ms }, ctx) => waitFor(ms, ctx.signal))];

function waitFor(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      reject(signal.reason);
    });
  });
}

describe("a Lambda worker on the embedded stack", () => {
  test("runs a batch, and acknowledges all of it", async () => {
    const source = await open();
    const tasks = await client.enqueueMany(
      add,
      Array.from({ length: 10 }, (_, a) => ({ input: { a, b: 1 } })),
    );
    const worker = createLambdaWorker({ handlers, topology, ...quiet });
    const event = await source.receive();
    expect(event.Records.length).toBeGreaterThan(0);
    const report = await worker(event, contextOf(60_000));
    expect(report).toEqual({ batchItemFailures: [] });
    await source.conclude(event, report);
    const done = new Set(event.Records.map(({ body }) => JSON.parse(body).id));
    const finished = [...tasks.entries()].filter(([, task]) => done.has(task.id));
    for (const [a, task] of finished) expect(await task.result()).toBe(a + 1);
  });

  test("a failure is put back and acknowledged, and its neighbour is not touched", async () => {
    const source = await open();
    const failing = await client.enqueue(fail, { times: 1 });
    const fine = await client.enqueue(add, { a: 1, b: 2 });
    const worker = createLambdaWorker({ handlers, topology, ...quiet });
    await drain(source, worker, () => isOver(failing.id));
    expect(await fine.result()).toBe(3);
    expect(await client.task(fail, failing.id).get()).toMatchObject({ state: "succeeded", attempts: 2, failures: 1 });
  });

  test("F06 what cannot end before the deadline is given back untouched, what runs is interrupted and not counted", async () => {
    const source = await open();
    const tasks = await client.enqueueMany(
      slow,
      [900, 60_000, 1].map((ms) => ({ input: { ms } })),
    );
    const [, running, waiting] = tasks.map(({ id }) => id);
    const records: LambdaSqsRecord[] = [];
    await until(async () => {
      records.push(...(await source.receive(360, 1)).Records);
      return records.length === 3;
    });
    const order = tasks.map(({ id }) => id);
    const placeOf = ({ body }: LambdaSqsRecord): number => order.indexOf(JSON.parse(body).id);
    const event = { Records: records.toSorted((one, other) => placeOf(one) - placeOf(other)) };
    // The first takes most of a second of the time in which the second could have timed out.
    const worker = createLambdaWorker({ handlers: slowHandlers, topology, concurrency: 1, ...quiet });
    const before = Date.now();
    const report = await worker(event, contextOf(5_500));
    expect(Date.now() - before).toBeLessThan(5_500);
    expect(await client.task(slow, running ?? "").get()).toMatchObject({ state: "queued", attempts: 1, failures: 0 });
    expect(await client.task(slow, waiting ?? "").get()).toMatchObject({ state: "queued", attempts: 0 });
    expect(report.batchItemFailures).toEqual([{ itemIdentifier: event.Records[2]?.messageId }]);
    await source.conclude(event, report);
    // Neither is lost: both come again at once, to an invocation that has time.
    const again = new Set<string>();
    await until(async () => {
      for (const { body } of (await source.receive(0, 1)).Records) again.add(JSON.parse(body).id);
      return again.size === 2;
    });
    expect(again).toEqual(new Set([running, waiting]));
  });

  test.each([-1, 0, 1])("F07 a remaining time of %i ms is a time that has run out", async (remaining) => {
    const source = await open();
    const task = await client.enqueue(add, { a: 1, b: 1 });
    const event = await source.receive();
    const worker = createLambdaWorker({ handlers, topology, ...quiet });
    const report = await worker(event, { getRemainingTimeInMillis: () => remaining });
    expect(report.batchItemFailures).toHaveLength(event.Records.length);
    expect(await client.task(add, task.id).get()).toMatchObject({ state: "queued", attempts: 0 });
  });

  test("F12 never throws, whatever the listener, the logger and the metrics do", async () => {
    const source = await open();
    const task = await client.enqueue(add, { a: 2, b: 2 });
    const event = await source.receive();
    const broken = (): never => {
      throw new Error("broken");
    };
    const worker = createLambdaWorker({ handlers, topology, log: broken, onEvent: broken, writeMetrics: broken });
    const report = await worker(event, contextOf(60_000));
    expect(report).toEqual({ batchItemFailures: [] });
    expect(await task.result()).toBe(4);
  });

  test("needs no handler where it only decodes", () => {
    expect(() => createLambdaWorker({ handlers: [], decode: () => undefined, topology })).not.toThrow();
    for (const decode of [null, true] as unknown as undefined[])
      expect(() => createLambdaWorker({ handlers, decode, topology })).toThrow(/OPTION_INVALID: The decode/);
  });

  test("F06 refuses a task whose timeout is above the function's, says so once, and runs its neighbours", async () => {
    const source = await open();
    const refused = await client.enqueue(add, { a: 1, b: 1 });
    const neighbour = await client.enqueue(slow, { ms: 1 });
    const lines: string[] = [];
    const worker = createLambdaWorker({
      handlers: [...handlers, ...slowHandlers],
      topology,
      log: (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
      writeMetrics: () => undefined,
    });
    const event = await source.receive();
    const report = await worker(event, contextOf(10_000));
    await source.conclude(event, report);
    await worker({ Records: [] }, contextOf(10_000));
    expect(await neighbour.get()).toMatchObject({ state: "succeeded" });
    expect(await refused.get()).toMatchObject({ state: "queued", attempts: 0 });
    expect(report).toEqual({ batchItemFailures: [] });
    expect(await source.count()).toBe(1);
    const told = lines.filter((line) => line.includes("OPTION_INVALID"));
    expect(told).toHaveLength(2);
    expect(told[0]).toMatch(/^error task refused .*task \\"add\\".*10 s/u);
    expect(told[1]).toContain("fail");
    expect(lines.join("\n")).not.toContain("unknown task");
  });

  test("writes metrics by queue and task, and no task id", async () => {
    const source = await open();
    const task = await client.enqueue(add, { a: 1, b: 1 });
    const event = await source.receive();
    const lines: string[] = [];
    const events: TasklaneEvent[] = [];
    const worker = createLambdaWorker({
      handlers,
      topology,
      log: () => undefined,
      writeMetrics: (line) => lines.push(line),
      onEvent: (told) => events.push(told),
    });
    await worker(event, contextOf(60_000));
    expect(lines).toHaveLength(1);
    const line = JSON.parse(lines[0] ?? "");
    expect(line).toMatchObject({ Queue: topology.queue, Task: "add", Succeeded: 1 });
    expect(line._aws.CloudWatchMetrics[0]).toMatchObject({
      Namespace: "Tasklane",
      Dimensions: [["Queue"], ["Queue", "Task"]],
    });
    expect(lines.join("")).not.toContain(task.id);
    expect(events.map(({ type }) => type)).toContain("attempt-ended");
  });

  test("decodes a foreign message to a task, once however often it comes", async () => {
    const source = await open();
    const record: LambdaSqsRecord = {
      messageId: "11111111-2222-3333-4444-555555555555",
      receiptHandle: "none",
      body: JSON.stringify({ Records: [{ s3: { object: { key: "7" } } }] }),
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
      eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:uploads",
    };
    const worker = createLambdaWorker({
      handlers,
      topology,
      ...quiet,
      decode: ({ body, eventSourceARN }) =>
        eventSourceARN.endsWith(":uploads")
          ? { task: add, input: { a: Number(JSON.parse(body).Records[0].s3.object.key), b: 1 } }
          : undefined,
    });
    for (let time = 0; time < 2; time++)
      expect(await worker({ Records: [record] }, contextOf(60_000))).toEqual({ batchItemFailures: [] });
    const event = await source.receive();
    expect(event.Records).toHaveLength(1);
    await worker(event, contextOf(60_000));
    const found = [];
    for await (const task of client.list({ task: "add", state: "succeeded" })) found.push(task);
    expect(found).toHaveLength(1);
    expect(await client.task(add, found[0]?.id ?? "").result()).toBe(8);
  });

  test("never asks decode about its own messages, which would be enqueued without end", async () => {
    const source = await open();
    const task = await client.enqueue(add, { a: 1, b: 1 });
    const event = await source.receive();
    const worker = createLambdaWorker({
      handlers,
      topology,
      ...quiet,
      decode: () => ({ task: add, input: { a: 0, b: 0 } }),
    });
    expect(await worker(event, contextOf(60_000))).toEqual({ batchItemFailures: [] });
    expect(await task.result()).toBe(2);
    expect(await source.count()).toBe(1);
  });

  test("F10 what decode knows nothing of is as without it: dead with its reason, or left in a queue that is no lane's", async () => {
    const source = await open();
    await source.send("raw bytes");
    const event = await source.receive();
    const elsewhere = {
      ...event.Records[0],
      messageId: "elsewhere",
      eventSourceARN: "arn:aws:sqs:us-east-1:1:uploads",
    };
    const lines: string[] = [];
    const worker = createLambdaWorker({
      handlers,
      topology,
      log: (level, message, fields) => lines.push(`${level} ${message} ${JSON.stringify(fields)}`),
      writeMetrics: () => undefined,
      decode: () => undefined,
    });
    const report = await worker({ Records: [...event.Records, elsewhere] as LambdaSqsRecord[] }, contextOf(60_000));
    expect(report.batchItemFailures).toEqual([{ itemIdentifier: "elsewhere" }]);
    expect(lines.join("\n")).toMatch(/error message of another queue .*WRONG_QUEUE.*createLambdaWorker\({ decode }\)/);
    const dead = [];
    for await (const task of client.list({ state: "dead" })) dead.push(task);
    expect(dead).toMatchObject([{ reason: "UNDECODABLE" }]);
  });

  test("F12 reports everything where it cannot connect, and connects anew in the next invocation", async () => {
    const source = await open();
    const task = await client.enqueue(add, { a: 3, b: 4 });
    const event = await source.receive();
    const lines: string[] = [];
    const worker = createLambdaWorker({
      handlers,
      queue: topology.queue,
      log: (_level, message, fields) => lines.push(`${message} ${JSON.stringify(fields)}`),
      writeMetrics: () => undefined,
    });
    expect(await worker(event, contextOf(60_000))).toEqual({
      batchItemFailures: event.Records.map(({ messageId }) => ({ itemIdentifier: messageId })),
    });
    expect(lines.join("\n")).toMatch(/invocation failed.*"code":"TOPOLOGY_MISSING"/);
    vi.stubEnv("TASKLANE_TOPOLOGY", JSON.stringify(topology));
    expect(await worker(event, contextOf(60_000)).finally(() => vi.unstubAllEnvs())).toEqual({ batchItemFailures: [] });
    expect(await task.result()).toBe(7);
  });

  test("a decode that throws leaves its message in the queue, and the others run", async () => {
    const source = await open();
    const task = await client.enqueue(add, { a: 1, b: 1 });
    const event = await source.receive();
    const foreign = { ...event.Records[0], messageId: "foreign", body: "not json" };
    const worker = createLambdaWorker({
      handlers,
      topology,
      ...quiet,
      decode: (record) => {
        if (record.messageId === "foreign") throw new Error("unreadable");
        return undefined;
      },
    });
    const report = await worker({ Records: [...event.Records, foreign] as LambdaSqsRecord[] }, contextOf(60_000));
    expect(report.batchItemFailures).toEqual([{ itemIdentifier: "foreign" }]);
    expect(await task.result()).toBe(2);
  });
});

async function isOver(id: string): Promise<boolean> {
  const { state } = await client.task(fail, id).get();
  return state !== "queued" && state !== "running";
}

/** Waits until something is so. */
async function until(isSo: () => Promise<boolean>): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await isSo())) if (Date.now() > end) throw new Error(`it is not so within 30 s: ${String(isSo)}`);
}

/** Calls the worker with what comes, until something is so. */
async function drain(
  source: EventSource,
  worker: ReturnType<typeof createLambdaWorker>,
  isSo: () => Promise<boolean>,
): Promise<void> {
  await until(async () => {
    if (await isSo()) return true;
    const event = await source.receive(360, 1);
    if (event.Records.length > 0) await source.conclude(event, await worker(event, contextOf(60_000)));
    return false;
  });
}
