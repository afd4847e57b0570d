import { afterAll, beforeAll, describe, expect, test } from "vitest";
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
const slow = defineTask({ name: "slow", input: z.object({ ms: z.int() }), timeout: "3s" });
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
    const running = await client.enqueue(slow, { ms: 60_000 });
    const first = await source.receive();
    const waiting = await client.enqueue(slow, { ms: 1 });
    const second = await source.receive();
    const event = { Records: [...first.Records, ...second.Records] };
    const worker = createLambdaWorker({ handlers: slowHandlers, topology, concurrency: 1, ...quiet });
    const before = Date.now();
    const report = await worker(event, contextOf(3_000));
    expect(Date.now() - before).toBeLessThan(3_000);
    expect(await client.task(slow, running.id).get()).toMatchObject({ state: "queued", attempts: 1, failures: 0 });
    expect(await client.task(slow, waiting.id).get()).toMatchObject({ state: "queued", attempts: 0 });
    const failed = report.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
    expect(failed).toContain(second.Records[0]?.messageId);
    await source.conclude(event, report);
    // Neither is lost: both come again at once, to an invocation that has time.
    const again = new Set<string>();
    const end = Date.now() + 20_000;
    while (again.size < 2 && Date.now() < end)
      for (const { body } of (await source.receive(0, 1)).Records) again.add(JSON.parse(body).id);
    expect(again).toEqual(new Set([running.id, waiting.id]));
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

  test("says that a task's timeout is above the function's, and gives everything back", async () => {
    const source = await open();
    await client.enqueue(add, { a: 1, b: 1 });
    const event = await source.receive();
    const lines: string[] = [];
    const worker = createLambdaWorker({
      handlers,
      topology,
      log: (_level, message, fields) => lines.push(`${message} ${JSON.stringify(fields)}`),
      writeMetrics: () => undefined,
    });
    expect((await worker(event, contextOf(10_000))).batchItemFailures).toHaveLength(event.Records.length);
    expect(lines.join("\n")).toMatch(/invocation failed.*OPTION_INVALID.*add/);
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

/** Calls the worker with what comes, until something is so. */
async function drain(
  source: EventSource,
  worker: ReturnType<typeof createLambdaWorker>,
  isSo: () => Promise<boolean>,
): Promise<void> {
  const end = Date.now() + 30_000;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error("it is not so within 30 s");
    const event = await source.receive(360, 1);
    if (event.Records.length > 0) await source.conclude(event, await worker(event, contextOf(60_000)));
  }
}
