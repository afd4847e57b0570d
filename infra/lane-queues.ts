import { Duration, Names, Stack } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { CfnQueue, Queue, QueueEncryption } from "aws-cdk-lib/aws-sqs";
import type { Construct } from "constructs";
import type { Lane } from "../lib/task/lane.ts";
import {
  DLQ_RETENTION_MS,
  QUEUE_RETENTION_MS,
  RECEIVE_LIMIT,
  SQS_MESSAGE_MAX_BYTES,
  SQS_WAIT_MAX_MS,
} from "../lib/task/limits.ts";

/** SQS allows 80; this keeps a producer's topology, which carries up to four URLs, within 700 bytes. */
const QUEUE_NAME_MAX_CHARS = 48;

/** A lane as it is deployed. */
export interface LaneQueues {
  readonly lane: Lane;
  readonly queue: Queue;
  readonly deadLetterQueue: Queue;
}

/** What the queues of all lanes have in common. */
export interface LaneQueuesOptions {
  readonly visibilityTimeout: Duration;
  readonly encryptionKey?: IKey | undefined;
}

/** Makes a lane's queue and its dead letter queue, each bound to the other. */
export function makeLaneQueues(scope: Construct, lane: Lane, options: LaneQueuesOptions): LaneQueues {
  const id = laneId(lane);
  const common = {
    // Given always: a template that leaves it out sets 1 MiB when it creates the queue, and 256 KiB when it updates it.
    maxMessageSizeBytes: SQS_MESSAGE_MAX_BYTES,
    receiveMessageWaitTime: Duration.millis(SQS_WAIT_MAX_MS),
    enforceSSL: true,
    ...(options.encryptionKey === undefined
      ? { encryption: QueueEncryption.SQS_MANAGED }
      : { encryption: QueueEncryption.KMS, encryptionMasterKey: options.encryptionKey }),
  };
  const deadLetterQueue = new Queue(scope, `${id}DeadLetters`, {
    ...common,
    retentionPeriod: Duration.millis(DLQ_RETENTION_MS),
  });
  const queue = new Queue(scope, id, {
    ...common,
    retentionPeriod: Duration.millis(QUEUE_RETENTION_MS),
    visibilityTimeout: options.visibilityTimeout,
    deadLetterQueue: { queue: deadLetterQueue, maxReceiveCount: RECEIVE_LIMIT },
  });
  allowOnlyFrom(queue, deadLetterQueue);
  return { lane, queue, deadLetterQueue };
}

/** The construct id of a lane, and the beginning of those that belong to it. */
export function laneId(lane: Lane): string {
  return `${lane.slice(0, 1).toUpperCase()}${lane.slice(1)}`;
}

/** The resource behind a queue. */
export function queueResource(queue: Queue): CfnQueue {
  const resource = queue.node.defaultChild;
  if (resource instanceof CfnQueue) return resource;
  throw new TypeError(`${queue.node.path} is no queue: another copy of aws-cdk-lib made it.`);
}

/**
 * The dead letter queue names its one source, and the source names its dead letter queue: a circle, unless one of the two names is
 * known beforehand. It is the source's, made from the stack's name and the path.
 */
function allowOnlyFrom(source: Queue, deadLetterQueue: Queue): void {
  const name = Names.uniqueResourceName(source, { maxLength: QUEUE_NAME_MAX_CHARS, separator: "-" });
  queueResource(source).queueName = name;
  queueResource(deadLetterQueue).redriveAllowPolicy = {
    redrivePermission: "byQueue",
    sourceQueueArns: [Stack.of(source).formatArn({ service: "sqs", resource: name })],
  };
}
