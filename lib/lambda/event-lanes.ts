import type { ReceivedMessage } from "../ports/queue.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import type { Topology } from "../task/topology.ts";
import type { LambdaSqsRecord } from "./lambda-event.ts";

/** Finds the lane whose queue a message comes from. */
export type LaneOf = (record: LambdaSqsRecord) => Lane | undefined;

/** Knows a topology's lanes by the names of their queues, which is what the ARN of an event source and a queue's URL have in common. */
export function lanesBySource(topology: Topology): LaneOf {
  const lanes = new Map(
    LANES.flatMap((lane) => {
      const url = topology.lanes[lane]?.url;
      return url === undefined ? [] : [[url.slice(url.lastIndexOf("/") + 1), lane] as const];
    }),
  );
  return ({ eventSourceARN }) =>
    typeof eventSourceARN === "string"
      ? lanes.get(eventSourceARN.slice(eventSourceARN.lastIndexOf(":") + 1))
      : undefined;
}

/** A message as a runner takes it. */
export function messageOf({ messageId, receiptHandle, body, attributes }: LambdaSqsRecord): ReceivedMessage {
  return {
    id: messageId,
    receipt: receiptHandle,
    body,
    receiveCount: Number(attributes?.ApproximateReceiveCount) || 1,
    sentAt: Number(attributes?.SentTimestamp) || 0,
  };
}

/** Says why a message of a queue that is no lane's cannot be dealt with. */
export function wrongSource(topology: Topology, record: LambdaSqsRecord): TasklaneError {
  return new TasklaneError("WRONG_QUEUE", {
    what: "A message comes from a queue that is none of this worker's lanes, and it stays there",
    received: record.eventSourceARN,
    expected: `a lane of queue "${topology.queue}"`,
    fix: "give this function the event sources of the queue's own lanes, or createLambdaWorker({ decode }) for others",
  });
}
