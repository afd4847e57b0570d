import type { BatchResultErrorEntry, SQSClient } from "@aws-sdk/client-sqs";
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from "@aws-sdk/client-sqs";
import type { Clock, Random } from "../ports/clock.ts";
import type {
  EntryOutcome,
  OutgoingMessage,
  Queue,
  QueueAddress,
  QueueDepth,
  ReceivedMessage,
  ReceiveOptions,
} from "../ports/queue.ts";
import { TasklaneError } from "../task/errors.ts";
import { utf8Bytes } from "../task/json.ts";
import type { Topology } from "../task/topology.ts";
import { carrierOf } from "../task/topology.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { receiveTimeout } from "./clients.ts";
import type { BatchVerb } from "./sqs-batch.ts";
import { sendBatches } from "./sqs-batch.ts";

/** What SQS calls a receipt that is no longer good, in one version of its API or another. */
const STALE_RECEIPT = /ReceiptHandle|MessageNotInflight/;

/** The queue port on SQS. */
export class SqsQueue implements Queue {
  readonly #client: SQSClient;
  readonly #topology: Topology;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(client: SQSClient, topology: Topology, clock: Clock, random: Random) {
    this.#client = client;
    this.#topology = topology;
    this.#clock = clock;
    this.#random = random;
  }

  async send(address: QueueAddress, messages: readonly OutgoingMessage[]): Promise<EntryOutcome[]> {
    return this.#batch(address, messages, (url) => ({
      call: { action: "sqs:SendMessage", resource: url },
      bytesOf: (message) => utf8Bytes(message.body),
      request: (batch) =>
        this.#client.send(
          new SendMessageBatchCommand({
            QueueUrl: url,
            Entries: batch.map(({ id, entry }) => ({
              Id: id,
              MessageBody: entry.body,
              // A message may come early, since a claim looks at the record's own time; it may not come late.
              DelaySeconds: Math.floor((entry.delayMs ?? 0) / 1_000),
            })),
          }),
        ),
    }));
  }

  async receive(address: QueueAddress, options: ReceiveOptions): Promise<ReceivedMessage[]> {
    const url = this.#urlOf(address);
    const { waitMs } = options;
    if (options.signal?.aborted) return [];
    try {
      const answer = await this.#client.send(
        new ReceiveMessageCommand({
          QueueUrl: url,
          MaxNumberOfMessages: options.max,
          WaitTimeSeconds: Math.ceil(waitMs / 1_000),
          VisibilityTimeout: wholeSeconds(options.visibilityMs),
          MessageSystemAttributeNames: ["ApproximateReceiveCount", "SentTimestamp"],
        }),
        {
          requestTimeout: receiveTimeout(waitMs),
          ...(options.signal === undefined ? {} : { abortSignal: options.signal }),
        },
      );
      return (answer.Messages ?? []).map((message) => ({
        id: message.MessageId ?? "",
        receipt: message.ReceiptHandle ?? "",
        body: message.Body ?? "",
        receiveCount: Number(message.Attributes?.ApproximateReceiveCount ?? 1),
        sentAt: Number(message.Attributes?.SentTimestamp ?? 0),
      }));
    } catch (error) {
      if (options.signal?.aborted) return [];
      throw toTasklaneError(error, { action: "sqs:ReceiveMessage", resource: url });
    }
  }

  async acknowledge(address: QueueAddress, receipts: readonly string[]): Promise<EntryOutcome[]> {
    return this.#batch(address, receipts, (url) => ({
      call: { action: "sqs:DeleteMessage", resource: url },
      request: async (batch) => {
        const answer = await this.#client.send(
          new DeleteMessageBatchCommand({
            QueueUrl: url,
            Entries: batch.map(({ id, entry }) => ({ Id: id, ReceiptHandle: entry })),
          }),
        );
        // Services differ on a stale receipt; the port says that it is no error.
        const stale = (answer.Failed ?? []).filter(isStaleReceipt).map(({ Id }) => ({ Id }));
        return { Successful: [...(answer.Successful ?? []), ...stale], Failed: answer.Failed };
      },
    }));
  }

  async hide(
    address: QueueAddress,
    entries: readonly { receipt: string; visibilityMs: number }[],
  ): Promise<EntryOutcome[]> {
    return this.#batch(address, entries, (url) => ({
      call: { action: "sqs:ChangeMessageVisibility", resource: url },
      request: (batch) =>
        this.#client.send(
          new ChangeMessageVisibilityBatchCommand({
            QueueUrl: url,
            Entries: batch.map(({ id, entry }) => ({
              Id: id,
              ReceiptHandle: entry.receipt,
              VisibilityTimeout: wholeSeconds(entry.visibilityMs),
            })),
          }),
        ),
    }));
  }

  async depth(address: QueueAddress): Promise<QueueDepth> {
    const url = this.#urlOf(address);
    try {
      const { Attributes: counts } = await this.#client.send(
        new GetQueueAttributesCommand({
          QueueUrl: url,
          AttributeNames: [
            "ApproximateNumberOfMessages",
            "ApproximateNumberOfMessagesDelayed",
            "ApproximateNumberOfMessagesNotVisible",
          ],
        }),
      );
      return {
        visible: Number(counts?.ApproximateNumberOfMessages ?? 0),
        delayed: Number(counts?.ApproximateNumberOfMessagesDelayed ?? 0),
        inFlight: Number(counts?.ApproximateNumberOfMessagesNotVisible ?? 0),
      };
    } catch (error) {
      throw toTasklaneError(error, { action: "sqs:GetQueueAttributes", resource: url });
    }
  }

  #urlOf(address: QueueAddress): string {
    const lane = carrierOf(this.#topology, address.lane);
    const queues = this.#topology.lanes[lane];
    const url = address.dead === true ? queues?.dlq : queues?.url;
    if (url !== undefined) return url;
    throw new TasklaneError("TOPOLOGY_INVALID", {
      what: `The topology of queue "${this.#topology.queue}" has no ${address.dead ? "dead letter queue" : "queue"} for lane ${lane}`,
      received: this.#topology.lanes,
      fix: "use the topology that provision() or the construct gives to workers: a producer's may lack dead letter queues",
    });
  }

  /** Sends entries in batches to an address. A topology that lacks it fails each entry, since this never throws for one. */
  async #batch<Entry>(
    address: QueueAddress,
    entries: readonly Entry[],
    verbOf: (url: string) => BatchVerb<Entry>,
  ): Promise<EntryOutcome[]> {
    let verb: BatchVerb<Entry>;
    try {
      verb = verbOf(this.#urlOf(address));
    } catch (error) {
      const refused = toTasklaneError(error, { action: "sqs", resource: `lane ${address.lane}` });
      return entries.map(() => ({ ok: false, error: refused }));
    }
    return sendBatches(verb, entries, this.#clock, this.#random);
  }
}

/** Rounds up: a message that shows too early would be received twice. */
function wholeSeconds(visibilityMs: number): number {
  return Math.ceil(visibilityMs / 1_000);
}

function isStaleReceipt(failed: BatchResultErrorEntry): boolean {
  return STALE_RECEIPT.test(`${failed.Code} ${failed.Message}`);
}
