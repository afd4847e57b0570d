import type { LambdaBatchReport, LambdaContext, LambdaSqsEvent, LambdaWorkerOptions } from "../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../lib/lambda/index.ts";
import type { Lane } from "../../lib/task/lane.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { FlowWorld, LogLine } from "../support/flow-world.ts";
import type { FlowHost } from "../support/flow-host.ts";

/** How long an event source hides what it takes: six times the usual timeout of a function. */
const SOURCE_VISIBILITY_MS = 360_000;

/** Takes up to ten messages of a lane, as an event source does. */
export async function receiveEvent(world: FlowWorld, lane: Lane = "normal"): Promise<LambdaSqsEvent> {
  const messages = await world.take(lane, SOURCE_VISIBILITY_MS);
  const url = world.backend.topology.lanes[lane]?.url ?? "";
  return {
    Records: messages.map(({ id, receipt, body, receiveCount, sentAt }) => ({
      messageId: id,
      receiptHandle: receipt,
      body,
      attributes: { ApproximateReceiveCount: String(receiveCount), SentTimestamp: String(sentAt) },
      eventSourceARN: `arn:aws:sqs:us-east-1:000000000000:${url.slice(url.lastIndexOf("/") + 1)}`,
    })),
  };
}

/** Deletes what a report lets go. */
export async function concludeEvent(
  world: FlowWorld,
  event: LambdaSqsEvent,
  report: LambdaBatchReport,
  lane: Lane = "normal",
): Promise<void> {
  const failed = new Set(report.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  const done = event.Records.filter(({ messageId }) => !failed.has(messageId));
  await world.backend.queue.acknowledge(
    { lane },
    done.map(({ receiptHandle }) => receiptHandle),
  );
}

/** A context whose invocation ends so many milliseconds from now, by the world's clock. */
export function worldContext(world: FlowWorld, ms: number): LambdaContext {
  const end = world.clock.now() + ms;
  return { awsRequestId: "request", getRemainingTimeInMillis: () => end - world.clock.now() };
}

/** A function of the world, in an environment that a test can freeze or kill. */
export interface WorldFunction {
  readonly host: FlowHost;
  readonly log: readonly LogLine[];
  readonly metrics: readonly string[];
  /** Calls it, and lets nothing happen yet. */
  start(event: LambdaSqsEvent, ms: number): Promise<LambdaBatchReport>;
  /** Calls it and lets time pass until it answers. */
  call(event: LambdaSqsEvent, ms: number): Promise<LambdaBatchReport>;
  /** Takes an event, calls the function with it, and deletes what it lets go. Answers the report. */
  serve(ms: number): Promise<{ event: LambdaSqsEvent; report: LambdaBatchReport; tookMs: number }>;
}

let functions = 0;

/** Makes a function. */
export function worldFunction(
  world: FlowWorld,
  options: Omit<LambdaWorkerOptions, "backend" | "clock" | "random" | "log" | "writeMetrics">,
  host: FlowHost = world.newHost(),
): WorldFunction {
  const log: LogLine[] = [];
  const metrics: string[] = [];
  const worker = createLambdaWorker({
    ...options,
    backend: host.reach(world.backend),
    clock: host.clock,
    // Two with the same chance would take each other's claims for their own.
    random: seededRandom(++functions),
    log: (level, message, fields) => log.push({ level, message, fields }),
    writeMetrics: (line) => metrics.push(line),
  });
  const start = (event: LambdaSqsEvent, ms: number): Promise<LambdaBatchReport> =>
    worker(event, worldContext(world, ms));
  const call = (event: LambdaSqsEvent, ms: number): Promise<LambdaBatchReport> => world.during(start(event, ms));
  return {
    host,
    log,
    metrics,
    start,
    call,
    async serve(ms) {
      const event = await receiveEvent(world);
      const began = world.clock.now();
      const report = await call(event, ms);
      const tookMs = world.clock.now() - began;
      await concludeEvent(world, event, report);
      return { event, report, tookMs };
    },
  };
}
