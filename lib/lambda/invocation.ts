import { AcknowledgeBuffer } from "../flow/acknowledge.ts";
import type { AttemptLogger } from "../flow/attempt-report.ts";
import type { Counters } from "../flow/counters.ts";
import type { LeaseTimes } from "../flow/heartbeat.ts";
import type { Producer } from "../flow/producer.ts";
import type { RunnerHost } from "../flow/runner.ts";
import { Runner } from "../flow/runner.ts";
import type { Services } from "../flow/services.ts";
import { withinTrace } from "../flow/trace.ts";
import { waitAtMost } from "../ports/clock.ts";
import type { ReceivedMessage } from "../ports/queue.ts";
import type { TaskHandler } from "../task/define-task.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import type { Deadline } from "./deadline.ts";
import type { LaneOf } from "./event-lanes.ts";
import { messageOf, wrongSource } from "./event-lanes.ts";
import type { DecodeMessage } from "./foreign-messages.ts";
import { isForeign, takeForeign } from "./foreign-messages.ts";
import type { LambdaSqsEvent, LambdaSqsRecord } from "./lambda-event.ts";

/** What an environment of the function keeps from one invocation to the next. */
export interface Environment {
  readonly services: Services;
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly times: LeaseTimes;
  readonly concurrency: number;
  /** Written once a minute at most, at the end of an invocation: between two of them nothing runs. */
  readonly counters: Counters;
  readonly producer: Producer;
  readonly decode: DecodeMessage | undefined;
  readonly laneOf: LaneOf;
  /** Names the environment in the history of attempts. */
  readonly worker: string;
  /** Writes the metrics of what happened since the last time. */
  readonly writeMetrics: () => void;
}

/** What one invocation adds to it. */
export interface Invocation {
  readonly event: LambdaSqsEvent;
  readonly deadline: Deadline;
  readonly log: AttemptLogger;
  /** The ids that Lambda may delete: at any moment it holds the truth, so that whatever happens the report is right. */
  readonly acknowledged: Set<string>;
  /** Tasks that could not end in any invocation. They wait for another worker, as those that are not known here do. */
  readonly tooLong: ReadonlyMap<string, TaskHandler>;
}

/** The very end of an invocation, for the answer to leave. */
const ANSWER_MS = 200;
/** After the heartbeat has ended nothing may hold the answer for long: what has ended would be shown again before it is deleted. */
const COUNTERS_MAX_MS = 1_000;
const RELEASES_MAX_MS = 2_000;

/** Brings each message of an event to its end, or gives it back in time. Leaves no timer behind: the environment may be frozen. */
export async function runInvocation(environment: Environment, invocation: Invocation): Promise<void> {
  const { counters, services, writeMetrics } = environment;
  const { deadline } = invocation;
  try {
    await runMessages(environment, invocation);
  } finally {
    writeMetrics();
    if (counters.due())
      await waitAtMost(services.clock, counters.flush(), Math.min(COUNTERS_MAX_MS, untilAnswer(deadline)));
  }
}

async function runMessages(environment: Environment, invocation: Invocation): Promise<void> {
  const { services } = environment;
  const { deadline, event, log } = invocation;
  const given = new AcknowledgeBuffer(services);
  const runner = makeRunner(environment, invocation, {
    acknowledge: ({ message }) => void invocation.acknowledged.add(message.id),
    release: (delivery, visibilityMs) => given.release(delivery, visibilityMs),
  });
  const offer = (records: readonly LambdaSqsRecord[]): void => {
    for (const [lane, messages] of byLane(environment, log, records)) runner.offer(lane, messages);
  };
  const foreign = environment.decode === undefined ? [] : event.Records.filter(isForeign);
  try {
    offer(event.Records.filter((record) => !foreign.includes(record)));
    // Beside the others: a slow decode keeps none of them from their time.
    const decoding = takeForeignOnes(environment, invocation, foreign).then(offer);
    await waitAtMost(
      services.clock,
      decoding.then(() => runner.idle()),
      deadline.workMs,
    );
  } finally {
    // Also ends the heartbeat: a frozen environment must not wake up to a timer of an invocation that is over.
    const endMs = Math.max(0, deadline.leftMs - 2 * ANSWER_MS);
    const interrupted = await runner.stop(endMs, endMs);
    if (interrupted > 0) log("warn", "out of time", { interrupted });
    await waitAtMost(services.clock, given.flush(), Math.min(RELEASES_MAX_MS, untilAnswer(deadline)));
    // What an abandoned handler comes to in a later invocation has no receipt any more.
    given.close();
  }
}

function untilAnswer(deadline: Deadline): number {
  return Math.max(0, deadline.leftMs - ANSWER_MS);
}

function makeRunner(environment: Environment, invocation: Invocation, host: RunnerHost): Runner {
  const { event, deadline, log, tooLong } = invocation;
  const { services, concurrency, times, worker, producer, laneOf } = environment;
  const lanes = new Set(event.Records.map(laneOf));
  return new Runner(services, {
    handlers: new Map([...environment.handlers].filter(([name]) => !tooLong.has(name))),
    // A lane that sends nothing here must not keep slots for itself.
    lanes: LANES.filter((lane) => lanes.has(lane)),
    concurrency,
    times,
    log,
    worker,
    enqueue: (parent) => producer.childOf(parent),
    traced: withinTrace,
    host,
    // The handler goes on in an environment that Lambda freezes and thaws: nobody can end it from here.
    onAbandoned: () => undefined,
    canEnd: ({ definition }) => deadline.fits(definition.timeoutMs),
    timeLimitMs: ({ definition }) => deadline.limitMs(definition.timeoutMs),
    // Half of what is left is for the outcome to be written.
    abortGraceMs: () => Math.max(0, (deadline.leftMs - 2 * ANSWER_MS) / 2),
    keepsAcknowledged: true,
  });
}

/** Enqueues what foreign messages stand for, and answers those that `decode` does not know. */
async function takeForeignOnes(
  { decode, producer }: Environment,
  { acknowledged, log }: Invocation,
  records: readonly LambdaSqsRecord[],
): Promise<readonly LambdaSqsRecord[]> {
  if (decode === undefined) return records;
  const unknown = await Promise.all(
    records.map(async (record) => {
      try {
        if (!(await takeForeign(producer, decode, record))) return [record];
        acknowledged.add(record.messageId);
      } catch (error) {
        log("error", "message not decoded", {
          messageId: record.messageId,
          source: record.eventSourceARN,
          error: String(error),
        });
      }
      return [];
    }),
  );
  return unknown.flat();
}

/** Sorts messages by the lane whose queue they come from. Those of no lane stay where they are. */
function byLane(
  { laneOf, services }: Environment,
  log: AttemptLogger,
  records: readonly LambdaSqsRecord[],
): Map<Lane, ReceivedMessage[]> {
  const batches = new Map<Lane, ReceivedMessage[]>();
  for (const record of records) {
    const lane = laneOf(record);
    if (lane !== undefined) batches.set(lane, [...(batches.get(lane) ?? []), messageOf(record)]);
    else {
      const error = wrongSource(services.backend.topology, record);
      log("error", "message of another queue", {
        messageId: record.messageId,
        code: error.code,
        error: error.message,
      });
    }
  }
  return batches;
}
