import { GetQueueAttributesCommand, SQSClient } from "@aws-sdk/client-sqs";
import { expect, onTestFinished, test } from "vitest";
import { makeClients } from "../../lib/aws/clients.ts";
import type { SdkClients, Topology } from "../../lib/index.ts";
import { createWorker } from "../../lib/index.ts";
import { setStage, until } from "./stage.ts";
import { gated } from "./tasks.ts";
import { startsOf } from "./verdict.ts";

const GRACE_MS = 2_000;
/** Nothing of this test may rest on it: what is not shown again at once comes after it. */
const LONG_LEASE = "60s";
/** How long each query of the ledger takes in one of the tests: the scheduler asks many in a row. */
const QUERY_MS = 1_500;

test("F42 SIGTERM with a grace of 2 s: the running task is interrupted uncharged, the waiting ones are shown again, exit code 0", async () => {
  const stage = await setStage({
    worker: () => ({ lease: LONG_LEASE, concurrency: 1, shutdownGrace: `${GRACE_MS}ms` }),
  });
  const { client, topology, fleet, effects, reports } = stage;
  const inFlight = watchInFlight(topology);
  fleet.start(0);
  const holding = await client.enqueue(gated, { gate: "never", holds: 1, heedsSignal: true });
  await until(() => startsOf(effects.lines(), holding.id).length > 0, "a start", { withinMs: 15_000 });
  const waiting = await Promise.all(
    (["critical", "high", "low"] as const).map((lane) =>
      client.enqueue(gated, { gate: "none", holds: 0, heedsSignal: true }, { lane }),
    ),
  );
  // Each lane's poll was under way when the only slot was taken, so the process holds what it cannot start.
  await until(async () => (await inFlight()) === 4, "four messages in the process", { withinMs: 10_000, everyMs: 100 });

  const stoppedAt = performance.now();
  const [exit] = await fleet.terminate();
  const tookMs = performance.now() - stoppedAt;
  expect(exit).toMatchObject({ code: 0, signal: null });
  expect(tookMs).toBeLessThan(GRACE_MS + 2_000);
  expect(reports.lines().filter(({ type }) => type === "run-resolved")).toMatchObject([
    { reason: "signal", interrupted: 1 },
  ]);
  expect(effects.lines().find(({ kind }) => kind === "aborted")).toMatchObject({
    taskId: holding.id,
    code: "SHUTDOWN",
  });
  expect(await holding.get()).toMatchObject({
    state: "queued",
    attempts: 1,
    interruptions: 1,
    failures: 0,
    crashes: 0,
  });
  for (const task of waiting) expect(await task.get()).toMatchObject({ state: "queued", attempts: 0 });
  expect(await inFlight()).toBe(0);

  fleet.start(1);
  const tasks = await stage.settled(4, 15_000);
  expect([...tasks.values()].map(({ state }) => state)).toEqual(Array(4).fill("succeeded"));
  expect(await holding.get()).toMatchObject({ attempts: 2, interruptions: 1, failures: 0, crashes: 0 });
  for (const task of waiting) expect(await task.get()).toMatchObject({ attempts: 1, interruptions: 0 });
});

test("F42 a scheduler that is in the middle of a long run takes nothing from the grace", async () => {
  const { client, topology } = await setStage();
  const looks: number[] = [];
  const stop = new AbortController();
  const heard = Promise.withResolvers<number>();
  const holding = await client.enqueue(gated, { gate: "never", holds: 1, heedsSignal: true });
  const started = Promise.withResolvers<void>();
  const handler = gated.handle((_input, { signal }) => {
    started.resolve();
    return new Promise((_resolve, reject) => {
      signal.addEventListener("abort", () => {
        heard.resolve(performance.now());
        reject(signal.reason);
      });
    });
  });
  const running = createWorker({
    handlers: [handler],
    topology,
    sdk: slowQueries(topology, () => looks.push(performance.now())),
    shutdownGrace: `${GRACE_MS}ms`,
    log: () => undefined,
  }).run({ signal: stop.signal });
  await started.promise;
  await until(() => looks.length > 0, "the scheduler's first query", { withinMs: 10_000 });
  const stoppedAt = performance.now();
  stop.abort();
  expect(await running).toEqual({ reason: "signal", interrupted: 1 });
  expect((await heard.promise) - stoppedAt).toBeLessThan(GRACE_MS);
  expect(performance.now() - stoppedAt).toBeLessThan(GRACE_MS + QUERY_MS);
  expect(await holding.get()).toMatchObject({ state: "queued", interruptions: 1, failures: 0 });
});

function slowQueries(topology: Topology, onQuery: () => void): SdkClients {
  const clients = makeClients(topology);
  clients.dynamodb.middlewareStack.add(
    (next, { commandName }) =>
      async (args) => {
        if (commandName === "QueryCommand") {
          onQuery();
          await new Promise((resolve) => setTimeout(resolve, QUERY_MS));
        }
        return next(args);
      },
    { step: "initialize" },
  );
  onTestFinished(() => clients.close());
  return clients;
}

/** Counts the messages that are out of sight in all lanes. */
function watchInFlight({ endpoint, lanes }: Topology): () => Promise<number> {
  const client = new SQSClient({
    region: "us-east-1",
    endpoint: typeof endpoint === "string" ? endpoint : (endpoint?.sqs ?? ""),
    credentials: { accessKeyId: "test", secretAccessKey: "test" },
  });
  onTestFinished(() => client.destroy());
  return async () => {
    let count = 0;
    for (const { url } of Object.values(lanes)) {
      const command = new GetQueueAttributesCommand({
        QueueUrl: url,
        AttributeNames: ["ApproximateNumberOfMessagesNotVisible"],
      });
      const { Attributes } = await client.send(command);
      count += Number(Attributes?.ApproximateNumberOfMessagesNotVisible);
    }
    return count;
  };
}
