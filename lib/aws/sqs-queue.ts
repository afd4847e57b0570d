import type { BatchResultErrorEntry, SQSClient } from "@aws-sdk/client-sqs";
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  GetQueueAttributesCommand,
  ReceiveMessageCommand,
  SendMessageBatchCommand,
} from "@aws-sdk/client-sqs";
import type { Clock, Random } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
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
import { SQS_BATCH_MAX_ENTRIES, SQS_MESSAGE_MAX_BYTES } from "../task/limits.ts";
import type { Topology } from "../task/topology.ts";
import { carrierOf } from "../task/topology.ts";
import type { AwsCall } from "./aws-errors.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { receiveTimeout } from "./clients.ts";
import { fanOut } from "./fan-out.ts";

/** An entry that the service itself failed is tried again alone so often. */
const ENTRY_RETRIES_MAX = 3;
/** The longest wait before the first retry of an entry; doubles with each further one. */
const ENTRY_RETRY_WAIT_MS = 100;
/** What SQS calls a receipt that is no longer good, in one version of its API or another. */
const STALE_RECEIPT = /ReceiptHandle|MessageNotInflight/;

/** What the three batch calls answer. */
interface BatchAnswer {
  readonly Successful?: readonly { readonly Id: string | undefined }[] | undefined;
  readonly Failed?: readonly BatchResultErrorEntry[] | undefined;
}

/** One of the batch calls: what it is called, and how it is sent for some entries. */
interface BatchVerb<Entry> {
  readonly action: string;
  /** What an entry adds to the size of a request, where that is limited. */
  bytesOf?(entry: Entry): number;
  request(url: string, entries: readonly { id: string; entry: Entry }[]): Promise<BatchAnswer>;
}

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
    const verb: BatchVerb<OutgoingMessage> = {
      action: "sqs:SendMessage",
      bytesOf: (message) => utf8Bytes(message.body),
      request: (url, entries) =>
        this.#client.send(
          new SendMessageBatchCommand({
            QueueUrl: url,
            Entries: entries.map(({ id, entry }) => ({
              Id: id,
              MessageBody: entry.body,
              // A message may come early, since a claim looks at the record's own time; it may not come late.
              DelaySeconds: Math.floor((entry.delayMs ?? 0) / 1_000),
            })),
          }),
        ),
    };
    return this.#batch(address, verb, messages);
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
    const verb: BatchVerb<string> = {
      action: "sqs:DeleteMessage",
      request: async (url, entries) => {
        const answer = await this.#client.send(
          new DeleteMessageBatchCommand({
            QueueUrl: url,
            Entries: entries.map(({ id, entry }) => ({ Id: id, ReceiptHandle: entry })),
          }),
        );
        // Services differ on a stale receipt; the port says that it is no error.
        const failed = (answer.Failed ?? []).filter((entry) => !isStaleReceipt(entry));
        const stale = (answer.Failed ?? []).filter(isStaleReceipt).map(({ Id }) => ({ Id }));
        return { Successful: [...(answer.Successful ?? []), ...stale], Failed: failed };
      },
    };
    return this.#batch(address, verb, receipts);
  }

  async hide(
    address: QueueAddress,
    entries: readonly { receipt: string; visibilityMs: number }[],
  ): Promise<EntryOutcome[]> {
    const verb: BatchVerb<{ receipt: string; visibilityMs: number }> = {
      action: "sqs:ChangeMessageVisibility",
      request: (url, batch) =>
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
    };
    return this.#batch(address, verb, entries);
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

  async #batch<Entry>(
    address: QueueAddress,
    verb: BatchVerb<Entry>,
    entries: readonly Entry[],
  ): Promise<EntryOutcome[]> {
    const call: AwsCall = { action: verb.action, resource: `lane ${address.lane}` };
    let url: string;
    try {
      url = this.#urlOf(address);
    } catch (error) {
      const refused = toTasklaneError(error, call);
      return entries.map(() => ({ ok: false, error: refused }));
    }
    const outcomes = Array.from<EntryOutcome>({ length: entries.length });
    const fitting: { place: number; bytes: number }[] = [];
    for (const [place, entry] of entries.entries()) {
      const bytes = verb.bytesOf?.(entry) ?? 0;
      if (bytes <= SQS_MESSAGE_MAX_BYTES) fitting.push({ place, bytes });
      else outcomes[place] = { ok: false, error: tooLarge(bytes) };
    }
    await fanOut(packBatches(fitting), String, async (places) => {
      const answers = await this.#request(url, verb, entries, places);
      const again: number[] = [];
      for (const [at, place] of places.entries()) {
        const answer = answers[at];
        if (answer === undefined || answer === "again") again.push(place);
        else outcomes[place] = answer;
      }
      await fanOut(again, String, async (place) => {
        outcomes[place] = await this.#tryAlone(url, verb, entries, place);
      });
    });
    return outcomes;
  }

  /** Sends a failed entry by itself, so that it neither drags others along nor hides behind them. */
  async #tryAlone<Entry>(
    url: string,
    verb: BatchVerb<Entry>,
    entries: readonly Entry[],
    place: number,
  ): Promise<EntryOutcome> {
    for (let retry = 0; retry < ENTRY_RETRIES_MAX; retry++) {
      await sleep(this.#clock, this.#random.next() * ENTRY_RETRY_WAIT_MS * 2 ** retry);
      const [answer] = await this.#request(url, verb, entries, [place]);
      if (answer !== undefined && answer !== "again") return answer;
    }
    return {
      ok: false,
      error: new TasklaneError("BACKEND_UNAVAILABLE", {
        what: `${verb.action} on ${url} failed ${ENTRY_RETRIES_MAX + 1} times for one entry of a batch`,
        fix: "try again",
      }),
    };
  }

  /** One batch request. Answers for each place its outcome, or that it is worth another try. Never throws. */
  async #request<Entry>(
    url: string,
    verb: BatchVerb<Entry>,
    entries: readonly Entry[],
    places: readonly number[],
  ): Promise<(EntryOutcome | "again")[]> {
    const call: AwsCall = { action: verb.action, resource: url };
    const batch: { id: string; entry: Entry }[] = [];
    for (const place of places) {
      const entry = entries[place];
      if (entry !== undefined) batch.push({ id: String(place), entry });
    }
    try {
      const answer = await verb.request(url, batch);
      const done = new Set(answer.Successful?.map(({ Id }) => Id));
      return batch.map(({ id }) => {
        if (done.has(id)) return { ok: true };
        const failed = answer.Failed?.find(({ Id }) => Id === id);
        return failed?.SenderFault === true ? { ok: false, error: entryError(failed, call) } : "again";
      });
    } catch (error) {
      const failure = toTasklaneError(error, call);
      return batch.map(() => ({ ok: false, error: failure }));
    }
  }
}

/** Splits entries into requests by count and bytes. Answers their places. */
function packBatches(entries: readonly { readonly place: number; readonly bytes: number }[]): number[][] {
  const batches: number[][] = [];
  let batch: number[] = [];
  let sum = 0;
  for (const { place, bytes } of entries) {
    if (batch.length === SQS_BATCH_MAX_ENTRIES || (batch.length > 0 && sum + bytes > SQS_MESSAGE_MAX_BYTES)) {
      batches.push(batch);
      batch = [];
      sum = 0;
    }
    batch.push(place);
    sum += bytes;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

/** Rounds up: a message that shows too early would be received twice. */
function wholeSeconds(visibilityMs: number): number {
  return Math.ceil(visibilityMs / 1_000);
}

function isStaleReceipt(failed: BatchResultErrorEntry): boolean {
  return STALE_RECEIPT.test(`${failed.Code} ${failed.Message}`);
}

function entryError(failed: BatchResultErrorEntry, call: AwsCall): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: `${call.action} on ${call.resource} was refused for one entry of a batch`,
    received: `${failed.Code}: ${failed.Message ?? "no reason given"}`,
  });
}

function tooLarge(bytes: number): TasklaneError {
  return new TasklaneError("PAYLOAD_TOO_LARGE", {
    what: "The body of a message is larger than SQS takes",
    received: `${bytes} bytes`,
    expected: `at most ${SQS_MESSAGE_MAX_BYTES} bytes`,
  });
}
