import { AcknowledgeBuffer } from "../flow/acknowledge.ts";
import type { AttemptLogger } from "../flow/attempt-report.ts";
import type { LeaseTimes } from "../flow/heartbeat.ts";
import type { Counters } from "../flow/counters.ts";
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
import type { Topology } from "../task/topology.ts";
import type { Deadline } from "./deadline.ts";
import type { DecodeMessage } from "./foreign-messages.ts";
import { takeForeign } from "./foreign-messages.ts";
import type { LambdaSqsEvent, LambdaSqsRecord } from "./lambda-event.ts";

/** What an environment of the function keeps from one invocation to the next. */
export interface Environment {
  readonly services: Services;
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly times: LeaseTimes;
  readonly concurrency: number;
  readonly log: AttemptLogger;
  /** Written once a minute at most, at the end of an invocation: between two of them nothing runs. */
  readonly counters: Counters;
  readonly producer: Producer;
  readonly decode: DecodeMessage | undefined;
  /** Names the environment in the history of attempts. */
  readonly worker: string;
  /** Writes the metrics of what happened since the last time. */
  readonly writeMetrics: () => void;
}

/** The very end of an invocation, for the answer to leave. */
const ANSWER_MS = 200;

/**
 * Brings each message of an event to its end, or gives it back in time. Adds to `acknowledged` the ids of those that Lambda may delete:
 * at any moment it holds the truth, so that whatever happens the report is right.
 */
export async function runInvocation(
  environment: Environment,
  event: LambdaSqsEvent,
  deadline: Deadline,
  acknowledged: Set<string>,
): Promise<void> {
  try {
    const own = await takeForeignOnes(environment, event.Records, acknowledged);
    await runOwn(environment, own, deadline, acknowledged);
  } finally {
    environment.writeMetrics();
    const { counters, services } = environment;
    if (counters.due()) await waitAtMost(services.clock, counters.flush(), Math.max(0, deadline.leftMs - ANSWER_MS));
  }
}

/** Deals with foreign messages, and answers the others. */
async function takeForeignOnes(
  { decode, producer, log }: Environment,
  records: readonly LambdaSqsRecord[],
  acknowledged: Set<string>,
): Promise<readonly LambdaSqsRecord[]> {
  if (decode === undefined) return records;
  const own = await Promise.all(
    records.map(async (record) => {
      try {
        if (!(await takeForeign(producer, decode, record))) return [record];
        acknowledged.add(record.messageId);
      } catch (error) {
        log("error", "message not decoded", { messageId: record.messageId, error: String(error) });
      }
      return [];
    }),
  );
  return own.flat();
}

async function runOwn(
  environment: Environment,
  records: readonly LambdaSqsRecord[],
  deadline: Deadline,
  acknowledged: Set<string>,
): Promise<void> {
  const { services, times, log, producer } = environment;
  const batches = byLane(services.backend.topology, records, (record) =>
    log("error", "message of another queue", {
      messageId: record.messageId,
      source: record.eventSourceARN,
      fix: "give this function the event sources of the queue's own lanes, or a decode for others",
    }),
  );
  if (batches.size === 0) return;
  const given = new AcknowledgeBuffer(services);
  const host: RunnerHost = {
    acknowledge: ({ message }) => void acknowledged.add(message.id),
    release: (delivery, visibilityMs) => given.release(delivery, visibilityMs),
  };
  const runner = new Runner(services, {
    handlers: environment.handlers,
    lanes: LANES.filter((lane) => batches.has(lane)),
    concurrency: environment.concurrency,
    times,
    log,
    worker: environment.worker,
    enqueue: (parent) => producer.childOf(parent),
    traced: withinTrace,
    host,
    // The handler goes on in an environment that Lambda freezes and thaws: nobody can end it from here.
    onAbandoned: () => undefined,
    canEnd: ({ definition }) => deadline.fits(definition.timeoutMs),
    keepsAcknowledged: true,
  });
  for (const [lane, messages] of batches) runner.offer(lane, messages);
  await waitAtMost(services.clock, runner.idle(), deadline.workMs);
  // Also ends the heartbeat: a frozen environment must not wake up to a timer of an invocation that is over.
  await runner.stop(Math.max(0, deadline.leftMs - 2 * ANSWER_MS));
  await waitAtMost(services.clock, given.flush(), Math.max(0, deadline.leftMs - ANSWER_MS));
}

/** Sorts messages by the lane whose queue they come from. */
function byLane(
  topology: Topology,
  records: readonly LambdaSqsRecord[],
  onUnknown: (record: LambdaSqsRecord) => void,
): Map<Lane, ReceivedMessage[]> {
  const lanes = new Map(
    LANES.flatMap((lane) => {
      const url = topology.lanes[lane]?.url;
      return url === undefined ? [] : [[url.slice(url.lastIndexOf("/") + 1), lane] as const];
    }),
  );
  const batches = new Map<Lane, ReceivedMessage[]>();
  for (const record of records) {
    const lane = lanes.get(record.eventSourceARN.slice(record.eventSourceARN.lastIndexOf(":") + 1));
    if (lane === undefined) onUnknown(record);
    else batches.set(lane, [...(batches.get(lane) ?? []), messageOf(record)]);
  }
  return batches;
}

function messageOf({ messageId, receiptHandle, body, attributes }: LambdaSqsRecord): ReceivedMessage {
  return {
    id: messageId,
    receipt: receiptHandle,
    body,
    receiveCount: Number(attributes.ApproximateReceiveCount) || 1,
    sentAt: Number(attributes.SentTimestamp) || 0,
  };
}
