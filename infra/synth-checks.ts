import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { DEFAULT_LANE, ENVELOPE_COPY_MAX_BYTES, SQS_VISIBILITY_MAX_MS } from "../lib/task/limits.ts";
import type { DeployedTask } from "./task-queue-props.ts";

/** Times the function's timeout. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
export const VISIBILITY_TIMEOUTS = 6;
/** https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const LAMBDA_EVENT_MAX_BYTES = 6_291_456;
/** What an event holds for each message besides its body. */
const EVENT_RECORD_BYTES = 1_024;
/** A worker keeps a second of its time to answer in, so a function of a shorter life would hardly start a task. */
const WORKER_TIMEOUT_MIN_SECONDS = 3;
/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-timeout.html */
const WORKER_TIMEOUT_MAX_SECONDS = 900;

/** A worker function as it will be deployed. What only the deploy decides is absent, and then not checked. */
export interface WorkerFacts {
  readonly path: string;
  readonly timeoutSeconds?: number | undefined;
  readonly reservedConcurrency?: number | undefined;
  /** What Lambda does with messages that went round through the function about 16 times: "Allow" or "Terminate". */
  readonly recursiveLoop?: string | undefined;
  /** The queue whose topology the function takes for its own. */
  readonly servedQueue?: string | undefined;
  readonly sources: readonly SourceFacts[];
}

/** What a function's event source will be. */
export interface SourceFacts {
  readonly lane: Lane;
  readonly batchSize?: number | undefined;
  readonly windowSeconds?: number | undefined;
  readonly hasMaxConcurrency: boolean;
  readonly maxConcurrency?: number | undefined;
  readonly hasFilters: boolean;
  /** Whether Lambda deletes only what the function did not give back. */
  readonly reportsFailures: boolean;
}

/** A lane's two queues as they will be deployed. */
export interface LaneFacts {
  readonly lane: Lane;
  readonly path: string;
  readonly visibilitySeconds?: number | undefined;
  readonly retentionSeconds?: number | undefined;
  readonly deadLetterRetentionSeconds?: number | undefined;
  readonly receiveLimit?: number | undefined;
}

/** A whole queue as it will be deployed. */
export interface QueueFacts {
  readonly queueName: string;
  readonly lanes: readonly LaneFacts[];
  readonly workers: readonly WorkerFacts[];
  readonly tasks: readonly DeployedTask[];
}

/** Finds mistakes that AWS would deploy, and that would lose or repeat tasks. @throws TasklaneError `DEPLOYMENT_UNSAFE` */
export function checkQueue({ queueName, lanes, workers, tasks }: QueueFacts): void {
  for (const lane of lanes) checkLane(lane);
  for (const worker of workers) {
    for (const source of worker.sources) {
      checkSource(worker, source);
      for (const lane of lanes) if (lane.lane === source.lane) checkVisibility(lane, worker, source);
    }
    checkWorker(worker, queueName);
    checkReserved(worker);
    checkTasks(worker, lanes, tasks);
  }
}

function checkLane(lane: LaneFacts): void {
  const { path, visibilitySeconds = 0, retentionSeconds, deadLetterRetentionSeconds, receiveLimit = 0 } = lane;
  if (visibilitySeconds * 1_000 > SQS_VISIBILITY_MAX_MS)
    throw unsafe(
      `The visibility timeout of ${path} is longer than SQS takes`,
      `${visibilitySeconds} s`,
      `at most ${SQS_VISIBILITY_MAX_MS / 1_000} s`,
      "shorten the timeout of the worker functions, or their batching window",
    );
  if (retentionSeconds === undefined) return;
  // A dead letter keeps the time at which its message was first sent, so an equal time would leave it none.
  if (deadLetterRetentionSeconds !== undefined && deadLetterRetentionSeconds <= retentionSeconds)
    throw unsafe(
      `The dead letter queue of ${path} deletes messages no later than the queue itself`,
      `${deadLetterRetentionSeconds} s`,
      `more than ${retentionSeconds} s`,
      "leave both retention periods as the construct sets them: 4 and 14 days",
    );
  if (receiveLimit * visibilitySeconds > retentionSeconds / 2)
    throw unsafe(
      `A message of ${path} that kills its worker each time comes near the end of its retention before it counts as dead`,
      `${receiveLimit} receives × ${visibilitySeconds} s`,
      `at most half of ${retentionSeconds} s`,
      "shorten the visibility timeout: it is 6 × the timeout of the worker function",
    );
}

function checkVisibility(lane: LaneFacts, worker: WorkerFacts, source: SourceFacts): void {
  if (lane.visibilitySeconds === undefined || worker.timeoutSeconds === undefined) return;
  const least = VISIBILITY_TIMEOUTS * worker.timeoutSeconds + (source.windowSeconds ?? 0);
  if (lane.visibilitySeconds >= least) return;
  throw unsafe(
    `The visibility timeout of ${lane.path} is shorter than ${VISIBILITY_TIMEOUTS} × the timeout of ${worker.path}, plus its batching window`,
    `${lane.visibilitySeconds} s`,
    `at least ${least} s`,
    "leave visibilityTimeout out and add the function with queue.addWorker, or shorten the timeout of the function",
  );
}

function checkWorker({ path, timeoutSeconds, recursiveLoop, servedQueue }: WorkerFacts, queueName: string): void {
  if (timeoutSeconds !== undefined && timeoutSeconds < WORKER_TIMEOUT_MIN_SECONDS)
    throw unsafe(
      `${path} has hardly time to start a task: what it cannot run in time it gives back, until each task counts as dead`,
      `${timeoutSeconds} s`,
      `at least ${WORKER_TIMEOUT_MIN_SECONDS} s`,
      "raise the timeout of the function",
    );
  if (timeoutSeconds !== undefined && timeoutSeconds > WORKER_TIMEOUT_MAX_SECONDS)
    throw unsafe(
      `The timeout of ${path} is longer than Lambda takes`,
      `${timeoutSeconds} s`,
      `at most ${WORKER_TIMEOUT_MAX_SECONDS} s`,
      "shorten it, and run longer tasks in a container with createWorker",
    );
  // A retry is a message that the function sends to the queue that started it, which to Lambda looks like a loop.
  if (recursiveLoop !== undefined && recursiveLoop !== "Allow")
    throw unsafe(
      `Lambda stops ${path} as a loop: a task that comes back for the 16th time, as retries and snoozes do, goes to the dead letters`,
      recursiveLoop,
      "Allow",
      "add the function with queue.addWorker, or give it recursiveLoop: RecursiveLoop.ALLOW",
    );
  if (servedQueue !== undefined && servedQueue !== queueName)
    throw unsafe(
      `${path} polls queue "${queueName}" and is a worker of queue "${servedQueue}": the tasks of one would die there as WRONG_QUEUE`,
      servedQueue,
      queueName,
      "make a function for each queue, of the same code if you like, and add each with queue.addWorker",
    );
}

function checkReserved(worker: WorkerFacts): void {
  const wanted = worker.sources.reduce((sum, { maxConcurrency = 0 }) => sum + maxConcurrency, 0);
  if (worker.reservedConcurrency === undefined || worker.reservedConcurrency >= wanted) return;
  throw unsafe(
    `The reserved concurrency of ${worker.path} is below what its event sources may use: messages would be throttled until they count as dead`,
    worker.reservedConcurrency,
    `at least ${wanted}`,
    "leave reservedConcurrentExecutions out, since maxConcurrency is the limit, or raise it",
  );
}

/** A function runs the tasks of its lanes, so these are the tasks that must fit into it. */
function checkTasks(worker: WorkerFacts, lanes: readonly LaneFacts[], tasks: readonly DeployedTask[]): void {
  if (worker.timeoutSeconds === undefined) return;
  for (const { name, timeoutMs, lane = DEFAULT_LANE } of tasks) {
    const carrier = lanes.some((each) => each.lane === lane) ? lane : DEFAULT_LANE;
    if (timeoutMs < worker.timeoutSeconds * 1_000 || !worker.sources.some((source) => source.lane === carrier))
      continue;
    throw unsafe(
      `Task "${name}" of lane ${lane} may run for as long as ${worker.path} as a whole, which then ends with no time to settle it`,
      `${timeoutMs / 1_000} s`,
      `less than ${worker.timeoutSeconds} s`,
      "raise the function's timeout (workerProps.timeout), lower the task's, or give it a lane that a longer function serves",
    );
  }
}

function checkSource(worker: WorkerFacts, source: SourceFacts): void {
  const where = `The event source of ${worker.path}, lane ${source.lane},`;
  if (source.hasFilters)
    throw unsafe(
      `${where} has filters: Lambda deletes what they do not match`,
      "filters",
      "none",
      "take them out, and give tasks that need other workers a lane or a queue of their own",
    );
  if (!source.reportsFailures)
    throw unsafe(
      `${where} does not report batch item failures: Lambda deletes what the worker gives back`,
      undefined,
      "ReportBatchItemFailures",
      "add the function with queue.addWorker(fn, { lanes }), or set reportBatchItemFailures",
    );
  if (!source.hasMaxConcurrency)
    throw unsafe(
      `${where} has no maximum concurrency: a throttled function would use up the receives of its messages`,
      undefined,
      "a maximum concurrency",
      "add the function with queue.addWorker(fn, { lanes })",
    );
  const { batchSize = 0 } = source;
  if (batchSize * (ENVELOPE_COPY_MAX_BYTES + EVENT_RECORD_BYTES) > LAMBDA_EVENT_MAX_BYTES)
    throw unsafe(
      `${where} asks for more in a batch than an event may hold`,
      `${batchSize} messages of up to ${ENVELOPE_COPY_MAX_BYTES} bytes`,
      `at most ${Math.floor(LAMBDA_EVENT_MAX_BYTES / (ENVELOPE_COPY_MAX_BYTES + EVENT_RECORD_BYTES))} messages`,
      "lower batchSize",
    );
}

function unsafe(what: string, received: unknown, expected: string, fix: string): TasklaneError {
  return new TasklaneError("DEPLOYMENT_UNSAFE", { what, received, expected, fix });
}
