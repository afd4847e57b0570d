import type { ConnectOptions, Connection } from "../connect.ts";
import { clockOf, connect } from "../connect.ts";
import type { AttemptLogger } from "../flow/attempt-report.ts";
import { Counters } from "../flow/counters.ts";
import { Producer } from "../flow/producer.ts";
import type { Services } from "../flow/services.ts";
import { makeServices } from "../flow/services.ts";
import type { Submitter } from "../flow/submitter.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import type { EventListener } from "../task/events.ts";
import { checkFunction, checkOptions } from "../task/known-options.ts";
import type { Topology } from "../task/topology.ts";
import { jsonLogger, logEvents, safeLogger } from "../worker-log.ts";
import type { HostTimes } from "../worker-options.ts";
import { indexHandlers, settleConcurrency, settleTimes } from "../worker-options.ts";
import { Deadline } from "./deadline.ts";
import { TaskMetrics } from "./emf.ts";
import type { DecodeMessage } from "./foreign-messages.ts";
import { lanesBySource } from "./event-lanes.ts";
import type { Environment } from "./invocation.ts";
import { runInvocation } from "./invocation.ts";
import type { LambdaBatchReport, LambdaContext, LambdaSqsEvent } from "./lambda-event.ts";
import { idsOf, reportOf } from "./lambda-event.ts";

/** How a worker function behaves. */
export interface LambdaWorkerOptions extends ConnectOptions, HostTimes {
  /** What it can run, one handler a task. With `decode` it may be empty: then the function only makes tasks for others. */
  handlers: readonly TaskHandler[];
  /** Default: the environment variable `TASKLANE_TOPOLOGY`, or `TASKLANE_TOPOLOGY_<QUEUE>` if `queue` is given. */
  topology?: Topology | undefined;
  /** Which queue is meant: named, another's topology is refused. Default: the one whose topology there is. */
  queue?: string | undefined;
  /** Handlers at once in one invocation. Default 20, which is above the ten messages that an event has by default. */
  concurrency?: number | undefined;
  /**
   * Turns foreign bodies (S3 events, SNS notifications, raw JSON) into tasks, which its own lanes then run. Default: what is no envelope of
   * ours is dead at once, and what comes from a queue that is no lane's stays there.
   */
  decode?: DecodeMessage | undefined;
  onEvent?: EventListener | undefined;
  /** Takes log lines. Default: JSON lines on standard output. */
  log?: AttemptLogger | undefined;
  /** Takes lines in CloudWatch's embedded metric format. Default: standard output, from where CloudWatch reads them. */
  writeMetrics?: ((line: string) => void) | undefined;
  /** Named in the meta of what handlers enqueue. */
  submitter?: Submitter | undefined;
}

/** An invocation that begins with so little says nothing about its function, which has a second at least. */
const HARDLY_ANY_TIME_MS = 500;

/** What Lambda calls. Never rejects: whatever goes wrong, the messages that were not dealt with come again. */
export type LambdaWorker = (event: LambdaSqsEvent, context?: LambdaContext) => Promise<LambdaBatchReport>;

const OPTIONS: readonly (keyof LambdaWorkerOptions)[] = [
  ...([
    "handlers",
    "topology",
    "queue",
    "concurrency",
    "decode",
    "onEvent",
    "log",
    "writeMetrics",
    "submitter",
  ] as const),
  ...(["lease", "clockSkew", "sdk", "clock", "random", "backend"] as const),
];

/**
 * Makes a function that runs tasks behind an SQS event source with `ReportBatchItemFailures`. It is the worker process's own runner:
 * claims, leases, heartbeats, retries and rate limits are the same. It starts only what can end before the function's deadline, and
 * gives back the rest. A task whose timeout is above the function's is told of by an error line, and waits for another worker or
 * another deploy as an unknown task does, for a day; the function's other tasks run.
 *
 * ```ts
 * export const handler = createLambdaWorker({ handlers });
 * ```
 *
 * @throws TasklaneError `HANDLER_DUPLICATE`, `OPTION_INVALID`, `DURATION_INVALID`
 */
export function createLambdaWorker(options: LambdaWorkerOptions): LambdaWorker {
  checkOptions(options, OPTIONS, "OPTION_INVALID", "createLambdaWorker");
  if (options.decode !== undefined)
    checkFunction(options.decode, "OPTION_INVALID", "decode of createLambdaWorker", "({ body }) => ({ task, input })");
  // What only turns foreign messages into tasks for others needs none.
  const handlers = indexHandlers(options.handlers, options.decode !== undefined);
  const settled = { handlers, times: settleTimes(options), concurrency: settleConcurrency(options.concurrency) };
  const clock = clockOf(options);
  const log = safeLogger(options.log ?? jsonLogger(clock));
  let connecting: Promise<Environment> | undefined;
  let functionMs = 0;
  const refused = new Set<string>();

  /** Connects once for the life of the function's environment; what failed is tried anew by the next invocation. */
  const environment = (): Promise<Environment> => {
    connecting ??= connect(options.topology, options.queue, options).then((connection) =>
      makeEnvironment(connection, options, { ...settled, log }),
    );
    const current = connecting;
    current.catch(() => {
      if (connecting === current) connecting = undefined;
    });
    return current;
  };
  // Already now: while a function's environment is made it has more of a processor, and no task waits. No call is sent by it.
  void environment().catch(() => undefined);

  return async (event, context) => {
    const ids = idsOf(event);
    const acknowledged = new Set<string>();
    const requestId = context?.awsRequestId;
    const invocationLog: AttemptLogger =
      requestId === undefined ? log : (level, message, fields) => log(level, message, { ...fields, requestId });
    try {
      const deadline = new Deadline(clock, context);
      // The longest time that any invocation had: one that had to start the function anew may have less.
      if (deadline.totalMs > HARDLY_ANY_TIME_MS) functionMs = Math.max(functionMs, deadline.functionMs);
      const tooLong = tooLongFor(functionMs, handlers);
      for (const { definition } of tooLong.values()) {
        if (refused.has(definition.name)) continue;
        refused.add(definition.name);
        invocationLog("error", "task refused", describe(timeoutAbove(functionMs, definition)));
      }
      await runInvocation(await environment(), { event, deadline, log: invocationLog, acknowledged, tooLong });
    } catch (error) {
      invocationLog("error", "invocation failed", describe(error));
    }
    return reportOf(ids, acknowledged);
  };
}

function makeEnvironment(
  connection: Connection,
  options: LambdaWorkerOptions,
  { log, ...settled }: Pick<Environment, "handlers" | "times" | "concurrency"> & { readonly log: AttemptLogger },
): Environment {
  const { topology } = connection.backend;
  const metrics = new TaskMetrics(topology.queue, new Set(settled.handlers.keys()));
  const counters = new Counters(
    { ...connection, ledger: connection.backend.ledger },
    logEvents(log, settled.handlers, options.onEvent),
  );
  const services: Services = makeServices({
    ...connection,
    onEvent: (event) => {
      metrics.add(event);
      return counters.listener(event);
    },
  });
  const writeMetrics = options.writeMetrics ?? ((line: string): void => void process.stdout.write(`${line}\n`));
  return {
    ...settled,
    services,
    counters,
    producer: new Producer(services, { submitter: options.submitter, env: process.env }),
    decode: options.decode,
    laneOf: lanesBySource(topology),
    worker: services.random.token(),
    writeMetrics: () => {
      for (const line of metrics.take(services.clock.now())) {
        try {
          writeMetrics(line);
        } catch {
          // Nobody's metrics may cost the rest of the invocation.
        }
      }
    },
  };
}

/** The tasks that may run longer than the function: whatever invocation they came to would give them back. */
function tooLongFor(functionMs: number, handlers: ReadonlyMap<string, TaskHandler>): ReadonlyMap<string, TaskHandler> {
  if (functionMs === 0) return new Map();
  return new Map([...handlers].filter(([, { definition }]) => definition.timeoutMs > functionMs));
}

function timeoutAbove(functionMs: number, { name, timeoutMs }: TaskHandler["definition"]): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: `The timeout of task "${name}" is above that of the function, so it could never end here and is put off`,
    received: `${timeoutMs} ms`,
    expected: `at most ${functionMs / 1_000} s, the most time that an invocation has had here`,
    fix: "raise the function's timeout (and with it the queue's visibility), lower the task's, or run it in a container",
  });
}

function describe(error: unknown): { error: string; code?: string } {
  if (TasklaneError.is(error)) return { error: error.message, code: error.code };
  return { error: error instanceof Error ? `${error.name}: ${error.message}` : String(error) };
}
