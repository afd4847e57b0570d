import { SQSClient, StartMessageMoveTaskCommand, GetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { z } from "zod";
import type { TasklaneClient, Topology, WorkerEnd } from "../../lib/index.ts";
import { createClient, createWorker, defineRateLimit, defineTask, provision, TerminalError } from "../../lib/index.ts";
import type { Endpoints } from "../../lib/task/topology.ts";
import { testWhere } from "./contract-backends.ts";

const WAIT = { timeout: "60s" } as const;

const add = defineTask({
  name: "add",
  input: z.object({ a: z.int(), b: z.int() }),
  output: z.int(),
  idempotencyKey: ({ a, b }) => `${a}+${b}`,
});
const shaky = defineTask({
  name: "shaky",
  input: z.object({ failures: z.int() }),
  output: z.int(),
  backoff: { initial: "1s", factor: 1, max: "1s" },
});
const hopeless = defineTask({ name: "hopeless", input: z.object({ mended: z.boolean() }), output: z.string() });
const echo = defineTask({
  name: "echo",
  input: z.object({ text: z.string() }),
  output: z.object({ text: z.string() }),
});
const parent = defineTask({ name: "parent", input: z.object({ n: z.int() }), output: z.string() });
const paced = defineTask({
  name: "paced",
  input: z.object({ n: z.int() }),
  output: z.int(),
  rateLimit: defineRateLimit({ name: "paced", limit: 5, burst: 1 }),
});

const starts: number[] = [];
const handlers = [
  add.handle(({ a, b }) => a + b),
  shaky.handle(({ failures }, ctx) => {
    if (ctx.attempt <= failures) throw new Error("not yet");
    return ctx.attempt;
  }),
  hopeless.handle(({ mended }) => {
    if (!mended) throw new TerminalError("of no use");
    return "mended";
  }),
  echo.handle(({ text }) => ({ text })),
  parent.handle(async ({ n }, ctx) => (await ctx.enqueue(add, { a: n, b: 1 })).id),
  paced.handle(({ n }) => {
    starts.push(performance.now());
    return n;
  }),
];

/** A place where the real client and a real worker can run. */
export interface FlowSite {
  readonly name: string;
  /** `undefined` is AWS. */
  readonly endpoint: () => string | Endpoints | undefined;
  /** Whether SQS's own redrive is there. */
  readonly movesMessages: boolean;
  /** Removes the queue that the suite made, where it costs something. */
  readonly remove?: ((topology: Topology) => Promise<void>) | undefined;
}

/** The real client and a real worker, from enqueue to result, on a service from outside this process. */
export function describeFlows({ name, endpoint, movesMessages, remove }: FlowSite): void {
  describe(`flows on ${name}`, () => {
    let topology: Topology;
    let client: TasklaneClient;
    let running: Promise<WorkerEnd>;
    const stop = new AbortController();

    beforeAll(async () => {
      const spec = { queue: `flows-${Date.now().toString(36)}`, lanes: ["high", "normal"] as const };
      topology = await provision(spec, { endpoint: endpoint() });
      client = createClient({ topology });
      running = createWorker({ handlers, topology, log: () => undefined }).run({ signal: stop.signal });
    });
    afterAll(async () => {
      stop.abort();
      await running;
      await client.close();
      await remove?.(topology);
    });

    test("a task runs, and its key is taken afterwards", async () => {
      const task = await client.enqueue(add, { a: 1, b: 2 }, { lane: "high" });
      expect(await task.result(WAIT)).toBe(3);
      expect(await client.enqueue(add, { a: 1, b: 2 })).toMatchObject({ id: task.id, duplicate: true });
    });

    test("fifty at once all run", async () => {
      const tasks = await client.enqueueMany(
        add,
        Array.from({ length: 50 }, (_, n) => ({ input: { a: 100, b: n } })),
      );
      expect(await Promise.all(tasks.map((task) => task.result(WAIT)))).toEqual(tasks.map((_, n) => 100 + n));
    });

    test("a failure is tried again after its backoff", async () => {
      const task = await client.enqueue(shaky, { failures: 2 });
      expect(await task.result(WAIT)).toBe(3);
      expect(await client.task(shaky, task.id).get()).toMatchObject({ attempts: 3, failures: 2 });
    });

    test("a delayed task does not start before its time", async () => {
      const began = Date.now();
      const task = await client.enqueue(add, { a: 5, b: 5 }, { delay: "3s" });
      await task.result(WAIT);
      expect(Date.now() - began).toBeGreaterThanOrEqual(2_900);
    });

    test("a queued task that is cancelled never starts", async () => {
      const task = await client.enqueue(add, { a: 6, b: 6 }, { delay: "10m" });
      await task.cancel("not needed");
      expect(await client.task(add, task.id).get()).toMatchObject({ state: "cancelled", attempts: 0 });
    });

    test.each([
      ["a side item", 4_000],
      ["S3", 300_000],
    ])("a payload and a result that lie in %s come back whole", async (_, size) => {
      const text = "Grüße, 🎂 ".repeat(size / 10);
      const task = await client.enqueue(echo, { text });
      expect(await task.result(WAIT)).toEqual({ text });
    });

    test("a child is made once by its parent", async () => {
      const task = await client.enqueue(parent, { n: 40 });
      expect(await client.task(add, await task.result(WAIT)).result(WAIT)).toBe(41);
    });

    test("F28 a rate limit holds for starts", async () => {
      const tasks = await client.enqueueMany(
        paced,
        Array.from({ length: 11 }, (_, n) => ({ input: { n } })),
      );
      await Promise.all(tasks.map((task) => task.result(WAIT)));
      // Ten of eleven wait 200 ms each after the one that the burst lets go.
      expect(Math.max(...starts) - Math.min(...starts)).toBeGreaterThanOrEqual(1_900);
    });

    test("a dead task gets another life with a mended input", async () => {
      const task = await client.enqueue(hopeless, { mended: false });
      await expect(task.result(WAIT)).rejects.toMatchObject({ code: "TASK_DEAD" });
      await client.task(hopeless, task.id).redrive({ input: { mended: true } });
      expect(await task.result(WAIT)).toBe("mended");
    });

    testWhere(movesMessages)("F34 SQS's own redrive of a dead letter is a redrive, once", async () => {
      const task = await client.enqueue(hopeless, { mended: false });
      await expect(task.result(WAIT)).rejects.toMatchObject({ code: "TASK_DEAD" });
      const { attempts } = await client.task(hopeless, task.id).get();
      const sqs = new SQSClient(siteOptions(topology));
      const [from, to] = await Promise.all([
        arnOf(sqs, topology.lanes.normal?.dlq ?? ""),
        arnOf(sqs, topology.lanes.normal?.url ?? ""),
      ]);
      // The copy is one of ours, sent by us: without a destination SQS would not know where it came from.
      await sqs.send(new StartMessageMoveTaskCommand({ SourceArn: from, DestinationArn: to }));
      const end = Date.now() + 40_000;
      let again = await client.task(hopeless, task.id).get();
      while ((again.attempts <= attempts || again.state !== "dead") && Date.now() < end) {
        await new Promise((resolve) => setTimeout(resolve, 200));
        again = await client.task(hopeless, task.id).get();
      }
      expect(again).toMatchObject({ state: "dead", attempts: attempts + 1 });
    });
  });
}

function siteOptions({ endpoint }: Topology): { endpoint?: string; region?: string } {
  const url = typeof endpoint === "string" ? endpoint : endpoint?.sqs;
  return url === undefined
    ? {}
    : Object.assign({
        endpoint: url,
        region: "us-east-1",
        credentials: { accessKeyId: "test", secretAccessKey: "test" },
      });
}

async function arnOf(sqs: SQSClient, url: string): Promise<string> {
  const { Attributes } = await sqs.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ["QueueArn"] }));
  return Attributes?.QueueArn ?? "";
}
