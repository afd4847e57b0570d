import type { ConnectOptions } from "./connect.ts";
import { connect } from "./connect.ts";
import { AcknowledgeBuffer } from "./flow/acknowledge.ts";
import type { AttemptLogger } from "./flow/attempt-report.ts";
import { Counters } from "./flow/counters.ts";
import type { LeaseTimes } from "./flow/heartbeat.ts";
import { visibilityOf } from "./flow/heartbeat.ts";
import { Producer } from "./flow/producer.ts";
import { recover } from "./flow/recover.ts";
import { Runner } from "./flow/runner.ts";
import type { Services } from "./flow/services.ts";
import { makeServices } from "./flow/services.ts";
import type { Submitter } from "./flow/submitter.ts";
import { withinTrace } from "./flow/trace.ts";
import { sleep } from "./ports/clock.ts";
import type { TaskHandler } from "./task/define-task.ts";
import type { Duration } from "./task/duration.ts";
import { parseDuration } from "./task/duration.ts";
import { TasklaneError } from "./task/errors.ts";
import type { EventListener } from "./task/events.ts";
import { checkOptions } from "./task/known-options.ts";
import type { Lane } from "./task/lane.ts";
import { isLane, LANES } from "./task/lane.ts";
import { DEFAULT_SHUTDOWN_GRACE, SQS_BATCH_MAX_ENTRIES, SQS_WAIT_MAX_MS } from "./task/limits.ts";
import type { Topology } from "./task/topology.ts";
import { deployedLanes } from "./task/topology.ts";
import { jsonLogger, logEvents, safeLogger } from "./worker-log.ts";
import { indexHandlers, refuseOption, settleConcurrency, settleTimes } from "./worker-options.ts";

/** How a worker process behaves. */
export interface WorkerOptions extends ConnectOptions {
  /** What it can run, one handler a task. */
  handlers: readonly TaskHandler[];
  /** Default: the environment variable `TASKLANE_TOPOLOGY`, or `TASKLANE_TOPOLOGY_<QUEUE>` if `queue` is given. */
  topology?: Topology | undefined;
  /** Which queue is meant: named, another's topology is refused. Default: the one whose topology there is. */
  queue?: string | undefined;
  /** Default: all that are deployed. */
  lanes?: readonly Lane[] | undefined;
  /** Handlers at once. Default 20, for handlers that mostly wait; about the number of cores for those that compute. */
  concurrency?: number | undefined;
  /** How long a task stays this worker's without renewal. Default `"30s"`: shorter finds a crash sooner and renews more often. */
  lease?: Duration | undefined;
  /** How far the clocks of hosts may differ before a lease counts as over. Default `"5s"`; a crash goes unnoticed for lease plus this. */
  clockSkew?: Duration | undefined;
  /** How long running handlers may go on after a stop. Default `"25s"`: container hosts kill after 30. */
  shutdownGrace?: Duration | undefined;
  /** Looks after lost and delayed tasks each minute, one worker of all. Default true; off only where something else does. */
  scheduler?: boolean | undefined;
  onEvent?: EventListener | undefined;
  /** Takes log lines. Default: JSON lines on standard output. */
  log?: AttemptLogger | undefined;
  /** Named in the meta of what handlers enqueue. */
  submitter?: Submitter | undefined;
}

/** How a worker's run ended. */
export interface WorkerEnd {
  /** `drained`: a handler ignored its abort signal, so the process should be ended and started anew. */
  readonly reason: "signal" | "drained";
  /** Handlers that were interrupted; their tasks run again elsewhere and nothing is counted. */
  readonly interrupted: number;
}

/** A worker process. */
export interface Worker {
  /**
   * Runs until the signal aborts, or until SIGTERM or SIGINT where none is given, and resolves when everything it held is
   * settled or given back. Never calls `process.exit`.
   *
   * @throws TasklaneError `TOPOLOGY_MISSING`, `TOPOLOGY_INVALID`, `PERMISSION_DENIED`, `RESOURCE_MISSING` at the start
   */
  run(options?: { signal?: AbortSignal | undefined }): Promise<WorkerEnd>;
}

const WORKER_OPTIONS: readonly (keyof WorkerOptions)[] = [
  "handlers",
  "topology",
  "queue",
  "lanes",
  "concurrency",
  "lease",
  "clockSkew",
  "shutdownGrace",
  "scheduler",
  "onEvent",
  "log",
  "submitter",
  "sdk",
  "clock",
  "random",
  "backend",
];
const SCHEDULER_EVERY_MS = 60_000;
const POLL_RETRY_MAX_MS = 30_000;
/** The last counters are worth no longer wait at the end. */
const COUNTERS_END_MS = 2_000;

/**
 * Makes a worker process: polls the lanes, runs handlers, and looks after what got lost.
 *
 * @throws TasklaneError `HANDLER_DUPLICATE`, `OPTION_INVALID`, `DURATION_INVALID`
 */
export function createWorker(options: WorkerOptions): Worker {
  checkOptions(options, WORKER_OPTIONS, "OPTION_INVALID", "createWorker");
  const handlers = indexHandlers(options.handlers);
  const times = settleTimes(options);
  const graceMs = parseDuration(options.shutdownGrace ?? DEFAULT_SHUTDOWN_GRACE, "shutdownGrace of the worker");
  const concurrency = settleConcurrency(options.concurrency);
  for (const lane of options.lanes ?? [])
    if (!isLane(lane)) refuseOption("The worker names a lane that does not exist", lane, LANES.join(", "));
  return {
    async run({ signal } = {}) {
      const connection = await connect(options.topology, options.queue, options);
      const log = safeLogger(options.log ?? jsonLogger(connection.clock));
      const parts = { ...connection, ledger: connection.backend.ledger };
      const counters = new Counters(parts, logEvents(log, handlers, options.onEvent));
      const services = makeServices({ ...connection, onEvent: counters.listener });
      const lanes = deployedLanes(services.backend.topology).filter((lane) => (options.lanes ?? LANES).includes(lane));
      if (lanes.length === 0) refuseOption("The worker has no lane to poll", options.lanes, "a lane that is deployed");
      return runWorker(services, { ...options, log, counters, handlers, times, graceMs, concurrency, lanes }, signal);
    },
  };
}

interface SettledOptions extends Omit<WorkerOptions, "handlers" | "lanes" | "concurrency" | "log"> {
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly log: AttemptLogger;
  readonly counters: Counters;
  readonly times: LeaseTimes;
  readonly graceMs: number;
  readonly concurrency: number;
  readonly lanes: readonly Lane[];
}

async function runWorker(
  services: Services,
  options: SettledOptions,
  signal: AbortSignal | undefined,
): Promise<WorkerEnd> {
  const { lanes, concurrency } = options;
  // A table that is missing or closed to us is told at the start, not at the first task. One that does not answer may soon.
  await services.backend.ledger.readDocument("scheduler").catch(throwPermanent);
  const stop = new AbortController();
  let reason: WorkerEnd["reason"] = "signal";
  const forget = stopOn(stop, signal);
  const acknowledgements = new AcknowledgeBuffer(services);
  const producer = new Producer(services, { submitter: options.submitter, env: process.env });
  const name = services.random.token();
  const runner = new Runner(services, {
    handlers: options.handlers,
    lanes,
    concurrency,
    times: options.times,
    log: options.log,
    worker: name,
    enqueue: (parent) => producer.childOf(parent),
    traced: withinTrace,
    host: acknowledgements,
    onAbandoned: () => {
      reason = "drained";
      stop.abort();
    },
  });
  options.counters.start();
  services.emit({ type: "worker-started", lanes, concurrency });
  const polls = lanes.map((lane) => pollLane(services, runner, lane, options.times, stop.signal));
  const scheduling = options.scheduler === false ? undefined : schedule(services, name, stop.signal);
  try {
    await Promise.all(polls);
  } catch (error) {
    // A worker that could not even begin leaves no timer behind.
    await options.counters.stop(COUNTERS_END_MS);
    throw error;
  } finally {
    // One loop that ends on an error ends them all.
    stop.abort();
    await Promise.allSettled(polls);
    forget();
  }
  // The grace does not wait for a scheduler that is in the middle of its run.
  const interrupted = await runner.stop(options.graceMs);
  await scheduling;
  await acknowledgements.flush();
  await options.counters.stop(COUNTERS_END_MS);
  services.emit({ type: "worker-stopped", reason, interrupted });
  if (options.backend === undefined && options.sdk === undefined) services.backend.close();
  return { reason, interrupted };
}

/** Long-polls one lane for as many messages as could start now. */
async function pollLane(
  services: Services,
  runner: Runner,
  lane: Lane,
  times: LeaseTimes,
  stop: AbortSignal,
): Promise<void> {
  const { backend, clock, random } = services;
  let failures = 0;
  while (!stop.aborted) {
    const max = Math.min(SQS_BATCH_MAX_ENTRIES, runner.capacity(lane));
    if (max === 0) {
      await runner.changed(stop);
      continue;
    }
    const troubles = Math.max(failures, runner.claimTroubles);
    if (troubles > 0)
      await sleep(clock, Math.min(POLL_RETRY_MAX_MS, 250 * 2 ** troubles) * (0.5 + random.next()), stop);
    if (stop.aborted) return;
    try {
      const messages = await backend.queue.receive(
        { lane },
        { max, waitMs: SQS_WAIT_MAX_MS, visibilityMs: visibilityOf(times), signal: stop },
      );
      failures = 0;
      if (messages.length > 0) runner.offer(lane, messages);
    } catch (error) {
      // What no waiting mends ends the worker, at its start; later it may be a deploy that is under way.
      if (failures === 0 && !runner.hasWorked && isPermanent(error)) throw error;
      failures = Math.min(failures + 1, 10);
      services.emit({ type: "poll-failed", lane, error: String(error) });
    }
  }
}

function isPermanent(error: unknown): boolean {
  return TasklaneError.is(error, "PERMISSION_DENIED") || TasklaneError.is(error, "RESOURCE_MISSING");
}

function throwPermanent(error: unknown): void {
  if (isPermanent(error)) throw error;
}

/** Runs the scheduler each minute; a lease in the ledger lets one worker of all do the work. */
async function schedule(services: Services, holder: string, stop: AbortSignal): Promise<void> {
  while (!stop.aborted) {
    try {
      await recover(services, { holder, signal: stop });
    } catch (error) {
      services.emit({ type: "scheduler-failed", error: String(error) });
    }
    await sleep(services.clock, SCHEDULER_EVERY_MS, stop);
  }
}

/** Process signals are listened to only where the caller gives no signal of its own. */
function stopOn(stop: AbortController, signal: AbortSignal | undefined): () => void {
  const abort = (): void => stop.abort();
  if (signal !== undefined) {
    if (signal.aborted) abort();
    signal.addEventListener("abort", abort, { once: true });
    return () => signal.removeEventListener("abort", abort);
  }
  for (const name of ["SIGTERM", "SIGINT"] as const) process.once(name, abort);
  return () => {
    for (const name of ["SIGTERM", "SIGINT"] as const) process.off(name, abort);
  };
}
