import { GetQueueAttributesCommand, StartMessageMoveTaskCommand } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { makeClients } from "../../lib/aws/clients.ts";
import { connect } from "../../lib/connect.ts";
import type { TasklaneClient, Topology, WorkerEnd } from "../../lib/index.ts";
import { createClient, createScheduler, createWorker, provision } from "../../lib/index.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import { LANES } from "../../lib/task/lane.ts";
import type { Endpoints } from "../../lib/task/topology.ts";
import { testWhere } from "./contract-backends.ts";
import { add, drowsy, echo, endless, flowHandlers, hopeless, long, paced, parent, shaky } from "./flow-tasks.ts";
import type { Starts } from "./flow-tasks.ts";
import { noise } from "./payload-texts.ts";

const WAIT = { timeout: "60s" } as const;
const POLL = { timeout: 40_000, interval: 250 } as const;
const LEASE_MS = 2_000;
const MANY = 80;
const EMPTY = { visible: 0, inFlight: 0 };
const DLQ = { lane: "normal", dead: true } as const;

/** A place where the real client and real workers can run. */
export interface FlowSite {
  readonly name: string;
  /** `undefined` is AWS. */
  readonly endpoint: () => string | Endpoints | undefined;
  /** Whether SQS's own redrive is there. */
  readonly movesMessages: boolean;
  /** Removes the queue that the suite made, where it costs something. */
  readonly remove?: ((topology: Topology) => Promise<void>) | undefined;
}

/** The path of a task from end to end, by the real client, two real workers and the real scheduler. */
export function describeFlows({ name, endpoint, movesMessages, remove }: FlowSite): void {
  describe(`flows on ${name}`, () => {
    const starts: Starts = new Map();
    const stop = new AbortController();
    let topology: Topology;
    let client: TasklaneClient;
    let backend: Backend;
    let running: Promise<WorkerEnd>[];

    beforeAll(async () => {
      topology = await provision({ queue: `flows-${Date.now().toString(36)}` }, { endpoint: endpoint() });
      client = createClient({ topology });
      ({ backend } = await connect(topology, undefined));
      const handlers = flowHandlers(starts);
      const options = { topology, handlers, lease: `${LEASE_MS}ms`, scheduler: false, log: () => undefined } as const;
      running = [1, 2].map(() => createWorker(options).run({ signal: stop.signal }));
    });
    afterAll(async () => {
      stop.abort();
      await Promise.all(running);
      await client.close();
      backend.close();
      await remove?.(topology);
    });

    /** The body of the one dead letter, which stays where it is. */
    async function lookAtLetter(): Promise<string> {
      let body: string | undefined;
      const look = async (): Promise<string | undefined> => {
        const [message] = await backend.queue.receive(DLQ, { max: 1, waitMs: 0, visibilityMs: 0 });
        return (body = message?.body);
      };
      await expect.poll(look, POLL).toBeDefined();
      return body ?? "";
    }

    const stateOf = (id: string) => async (): Promise<string> => (await client.task(hopeless, id).get()).state;

    test("a task runs once, and its key is taken afterwards", async () => {
      const task = await client.enqueue(add, { a: 1, b: 2 }, { meta: { by: "a test" } });
      expect(await task.result(WAIT)).toBe(3);
      expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 1, failures: 0, meta: { by: "a test" } });
      const again = await client.enqueue(add, { a: 1, b: 2 });
      expect(again).toMatchObject({ id: task.id, duplicate: true });
      expect(await again.result(WAIT)).toBe(3);
      await expect(client.enqueue(add, { a: 1, b: 2, note: "another" })).rejects.toMatchObject({
        code: "IDEMPOTENCY_CONFLICT",
      });
      expect(starts.get(task.id)).toHaveLength(1);
    });

    test(`${MANY} tasks over four lanes and two workers are each started once, and none is lost`, async () => {
      const entries = Array.from({ length: MANY }, (_, n) => ({
        input: { a: 1_000, b: n },
        options: { lane: LANES[n % LANES.length] },
      }));
      const tasks = await client.enqueueMany(add, entries);
      expect(await Promise.all(tasks.map((task) => task.result(WAIT)))).toEqual(entries.map((_, n) => 1_000 + n));
      const details = await Promise.all(tasks.map((task) => task.get()));
      expect(details.filter(({ state, attempts }) => state !== "succeeded" || attempts !== 1)).toEqual([]);
      expect(tasks.filter(({ id }) => starts.get(id)?.length !== 1)).toEqual([]);
    });

    test("a failure is tried again after its backoff, and the history tells of it", async () => {
      const task = await client.enqueue(shaky, { failures: 2 });
      expect(await task.result(WAIT)).toEqual({ attempt: 3 });
      const history = [1, 2].map((attempt) => ({
        attempt,
        outcome: "retry",
        message: `Error: attempt ${attempt} fails`,
      }));
      expect(await task.get()).toMatchObject({ attempts: 3, failures: 2, history });
    });

    test("a snooze is no failure", async () => {
      const task = await client.enqueue(drowsy, { snoozes: 1 });
      expect(await task.result(WAIT)).toEqual({ attempt: 2 });
      expect(await task.get()).toMatchObject({ attempts: 2, failures: 0, snoozes: 1 });
    });

    test("a delayed task does not start before its time", async () => {
      const began = Date.now();
      const task = await client.enqueue(add, { a: 5, b: 5 }, { delay: "3s" });
      expect(await task.result(WAIT)).toBe(10);
      expect((starts.get(task.id)?.[0] ?? 0) - began).toBeGreaterThanOrEqual(2_990);
    });

    test("a queued task that is cancelled never starts, and a running one is told to stop", async () => {
      const queued = await client.enqueue(add, { a: 6, b: 6 }, { delay: "10m" });
      expect(await queued.cancel("not needed")).toBe("cancelled");
      expect(await queued.get()).toMatchObject({ state: "cancelled", attempts: 0 });
      const task = await client.enqueue(endless, {});
      await expect.poll(() => starts.get(task.id)?.length, POLL).toBe(1);
      expect(await task.cancel("enough")).toBe("running");
      await expect(task.result(WAIT)).rejects.toMatchObject({ code: "TASK_CANCELLED" });
    });

    test("a task outlives its lease, since its worker renews it", async () => {
      const task = await client.enqueue(long, { ms: 3 * LEASE_MS });
      expect(await task.result(WAIT)).toEqual({ attempt: 1 });
      expect(starts.get(task.id)).toHaveLength(1);
    });

    test.each([
      ["a side item", 4_000],
      ["S3", 300_000],
    ])("a payload and a result that lie in %s come back whole", async (_, size) => {
      const text = `Grüße, 🎂 ${noise(size, size)}`;
      const task = await client.enqueue(echo, { text });
      expect(await task.result(WAIT)).toEqual({ text });
    });

    test("a child is made by its parent", async () => {
      const task = await client.enqueue(parent, { n: 40 });
      expect(await client.task(add, await task.result(WAIT)).result(WAIT)).toBe(41);
    });

    test("F28 a rate limit holds for starts", async () => {
      const entries = Array.from({ length: 11 }, (_, n) => ({ input: { n } }));
      const tasks = await client.enqueueMany(paced, entries);
      await Promise.all(tasks.map((task) => task.result(WAIT)));
      const times = tasks.flatMap(({ id }) => starts.get(id) ?? []);
      expect(times).toHaveLength(11);
      // Ten of eleven wait 200 ms each after the one that the burst lets go.
      expect(Math.max(...times) - Math.min(...times)).toBeGreaterThanOrEqual(1_900);
    });

    test("a dead task has a copy in the dead letter queue, gets another life, and its copy is cleared away", async () => {
      const task = await client.enqueue(hopeless, { mended: false, text: noise(100_000) });
      await expect(task.result(WAIT)).rejects.toMatchObject({ code: "TASK_DEAD" });
      expect(await task.get()).toMatchObject({ state: "dead", epoch: 1, attempts: 1, reason: "TERMINAL" });
      const dead: string[] = [];
      for await (const { id } of client.list({ state: "dead", task: "hopeless" })) dead.push(id);
      expect(dead).toEqual([task.id]);
      await expect.poll(() => backend.queue.depth(DLQ), POLL).toMatchObject({ visible: 1 });
      await task.redrive({ input: { mended: true } });
      expect(await task.result(WAIT)).toBe("mended");
      expect(await task.get()).toMatchObject({ state: "succeeded", epoch: 2, attempts: 2 });
      const scheduler = createScheduler({ topology });
      await scheduler.run();
      await scheduler.close();
      await expect.poll(() => backend.queue.depth(DLQ), POLL).toMatchObject(EMPTY);
    });

    testWhere(movesMessages)("F34 SQS's own redrive of a dead letter is a redrive, once", async () => {
      const task = await client.enqueue(hopeless, { mended: false });
      await expect.poll(stateOf(task.id), POLL).toBe("dead");
      const letter = await lookAtLetter();
      const { sqs, close } = makeClients(topology);
      const [SourceArn, DestinationArn] = await Promise.all(
        [topology.lanes.normal?.dlq, topology.lanes.normal?.url].map(async (QueueUrl) => {
          const command = new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["QueueArn"] });
          return (await sqs.send(command)).Attributes?.["QueueArn"];
        }),
      );
      // The copy is one of ours, sent by us: without a destination SQS would not know where it came from.
      await sqs.send(new StartMessageMoveTaskCommand({ SourceArn, DestinationArn }));
      close();
      await expect.poll(() => starts.get(task.id)?.length, POLL).toBe(2);
      await expect.poll(stateOf(task.id), POLL).toBe("dead");
      expect(await task.get()).toMatchObject({ epoch: 2, attempts: 2 });
      // The same copy once more asks for an epoch that is over.
      await backend.queue.send({ lane: "normal" }, [{ body: letter }]);
      await expect
        .poll(() => backend.queue.depth({ lane: "normal" }), POLL)
        .toEqual({
          visible: 0,
          delayed: 1,
          inFlight: 0,
        });
      expect(await task.get()).toMatchObject({ state: "dead", epoch: 2, attempts: 2 });
    });

    test("every lane is empty in the end, but for what was cancelled before its time", async () => {
      for (const lane of LANES) await expect.poll(() => backend.queue.depth({ lane }), POLL).toMatchObject(EMPTY);
    });
  });
}
