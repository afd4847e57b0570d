import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { ENVELOPE_COPY_MAX_BYTES, SQS_VISIBILITY_MAX_MS } from "../lib/task/limits.ts";
import type { DeployedTask } from "./task-queue-props.ts";

/** Times the function's timeout. https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html */
export const VISIBILITY_TIMEOUTS = 6;
/** https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html */
const LAMBDA_EVENT_MAX_BYTES = 6_291_456;
/** What an event holds for each message besides its body. */
const EVENT_RECORD_BYTES = 1_024;

/** A worker function as it will be deployed. What only the deploy decides is absent, and then not checked. */
export interface WorkerFacts {
  readonly path: string;
  readonly timeoutSeconds: number;
  readonly reservedConcurrency?: number | undefined;
  readonly sources: readonly SourceFacts[];
}

/** What a function's event source will be. */
export interface SourceFacts {
  readonly lane: Lane;
  readonly batchSize: number;
  readonly windowSeconds: number;
  readonly maxConcurrency?: number | undefined;
  readonly hasFilters: boolean;
}

/** A lane's two queues as they will be deployed. */
export interface LaneFacts {
  readonly lane: Lane;
  readonly path: string;
  readonly visibilitySeconds: number;
  readonly retentionSeconds: number;
  readonly deadLetterRetentionSeconds: number;
  readonly receiveLimit: number;
}

/** A whole queue as it will be deployed. */
export interface QueueFacts {
  readonly lanes: readonly LaneFacts[];
  readonly workers: readonly WorkerFacts[];
  readonly tasks: readonly DeployedTask[];
}

/** Finds mistakes that AWS would deploy, and that would lose or repeat tasks. @throws TasklaneError `DEPLOYMENT_UNSAFE` */
export function checkQueue({ lanes, workers, tasks }: QueueFacts): void {
  for (const lane of lanes) checkLane(lane);
  for (const worker of workers) {
    checkReserved(worker);
    checkTasks(worker, tasks);
    for (const source of worker.sources) {
      checkSource(worker, source);
      for (const lane of lanes) if (lane.lane === source.lane) checkVisibility(lane, worker, source);
    }
  }
}

function checkLane(lane: LaneFacts): void {
  const { path, visibilitySeconds, retentionSeconds, deadLetterRetentionSeconds, receiveLimit } = lane;
  if (visibilitySeconds * 1_000 > SQS_VISIBILITY_MAX_MS)
    throw unsafe(
      `The visibility timeout of ${path} is longer than SQS takes`,
      `${visibilitySeconds} s`,
      `at most ${SQS_VISIBILITY_MAX_MS / 1_000} s`,
      "shorten the timeout of the worker functions, or their batching window",
    );
  // A dead letter keeps the time at which its message was first sent, so an equal time would leave it none.
  if (deadLetterRetentionSeconds <= retentionSeconds)
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
  const least = VISIBILITY_TIMEOUTS * worker.timeoutSeconds + source.windowSeconds;
  if (lane.visibilitySeconds >= least) return;
  throw unsafe(
    `The visibility timeout of ${lane.path} is shorter than ${VISIBILITY_TIMEOUTS} × the timeout of ${worker.path}, plus its batching window`,
    `${lane.visibilitySeconds} s`,
    `at least ${least} s`,
    "leave visibilityTimeout out, or shorten the timeout of the worker function",
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

function checkTasks(worker: WorkerFacts, tasks: readonly DeployedTask[]): void {
  for (const { name, timeoutMs } of tasks) {
    if (timeoutMs < worker.timeoutSeconds * 1_000) continue;
    throw unsafe(
      `Task "${name}" may run for as long as ${worker.path} as a whole, which then ends with no time to settle it`,
      `${timeoutMs / 1_000} s`,
      `less than ${worker.timeoutSeconds} s`,
      `raise workerProps.timeout, or lower the task's timeout`,
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
  if (source.maxConcurrency === undefined)
    throw unsafe(
      `${where} has no maximum concurrency: a throttled function would use up the receives of its messages`,
      undefined,
      "a maximum concurrency",
      "add the function with queue.addWorker(fn, { lanes })",
    );
  const bytes = source.batchSize * (ENVELOPE_COPY_MAX_BYTES + EVENT_RECORD_BYTES);
  if (bytes > LAMBDA_EVENT_MAX_BYTES)
    throw unsafe(
      `${where} asks for more in a batch than an event may hold`,
      `${source.batchSize} messages of up to ${ENVELOPE_COPY_MAX_BYTES} bytes`,
      `at most ${Math.floor(LAMBDA_EVENT_MAX_BYTES / (ENVELOPE_COPY_MAX_BYTES + EVENT_RECORD_BYTES))} messages`,
      "lower batchSize",
    );
}

function unsafe(what: string, received: unknown, expected: string, fix: string): TasklaneError {
  return new TasklaneError("DEPLOYMENT_UNSAFE", { what, received, expected, fix });
}
