import type { MessageAttributeValue } from "@aws-sdk/client-sqs";
import {
  ChangeMessageVisibilityBatchCommand,
  DeleteMessageBatchCommand,
  SendMessageBatchCommand,
  SQSClient,
} from "@aws-sdk/client-sqs";
import type { BatchVerb } from "../../aws/sqs-batch.ts";
import { sendBatches } from "../../aws/sqs-batch.ts";
import type { SdkClients } from "../../connect.ts";
import type { Clock, Random } from "../../ports/clock.ts";
import type { EntryOutcome } from "../../ports/queue.ts";
import { utf8Bytes } from "../../task/json.ts";
import type { SqsAttribute, SqsRecord } from "./batch.ts";
import { CLIENT_OPTIONS } from "./clients.ts";
import { sqsEndpoint } from "./queue-url.ts";

/** A message that goes back to its queue. */
export interface Copy {
  readonly record: SqsRecord;
  /** Time out of sight, in milliseconds, rounded down to whole seconds. */
  readonly delayMs: number;
  readonly attributes: Readonly<Record<string, SqsAttribute>>;
}

/** Any SQS queue, by the records that came from it. Never throws for an entry. */
export class PlainQueue {
  readonly #client: SQSClient;
  readonly #url: string;
  readonly #clock: Clock;
  readonly #random: Random;

  constructor(client: SQSClient, url: string, clock: Clock, random: Random) {
    this.#client = client;
    this.#url = url;
    this.#clock = clock;
    this.#random = random;
  }

  /** Restarts the time out of sight, by one request for ten messages. */
  extend(records: readonly SqsRecord[], visibilityS: number): Promise<EntryOutcome[]> {
    return this.#batch(records, {
      call: { action: "sqs:ChangeMessageVisibility", resource: this.#url },
      request: (batch) =>
        this.#client.send(
          new ChangeMessageVisibilityBatchCommand({
            QueueUrl: this.#url,
            Entries: batch.map(({ id, entry }) => ({
              Id: id,
              ReceiptHandle: entry.receiptHandle,
              VisibilityTimeout: visibilityS,
            })),
          }),
        ),
    });
  }

  /** Sends messages again, with their attributes and their group. */
  send(copies: readonly Copy[]): Promise<EntryOutcome[]> {
    return this.#batch(copies, {
      call: { action: "sqs:SendMessage", resource: this.#url },
      bytesOf: ({ record, attributes }) => utf8Bytes(record.body) + utf8Bytes(JSON.stringify(attributes)),
      request: (batch) =>
        this.#client.send(
          new SendMessageBatchCommand({
            QueueUrl: this.#url,
            Entries: batch.map(({ id, entry }) => {
              const group = entry.record.attributes.MessageGroupId;
              return {
                Id: id,
                MessageBody: entry.record.body,
                DelaySeconds: Math.floor(entry.delayMs / 1_000),
                MessageAttributes: attributesOf(entry.attributes),
                ...(group === undefined ? {} : { MessageGroupId: group }),
              };
            }),
          }),
        ),
    });
  }

  /** Removes messages. */
  acknowledge(records: readonly SqsRecord[]): Promise<EntryOutcome[]> {
    return this.#batch(records, {
      call: { action: "sqs:DeleteMessage", resource: this.#url },
      request: (batch) =>
        this.#client.send(
          new DeleteMessageBatchCommand({
            QueueUrl: this.#url,
            Entries: batch.map(({ id, entry }) => ({ Id: id, ReceiptHandle: entry.receiptHandle })),
          }),
        ),
    });
  }

  #batch<Entry>(entries: readonly Entry[], verb: BatchVerb<Entry>): Promise<EntryOutcome[]> {
    return sendBatches(verb, entries, this.#clock, this.#random);
  }
}

/** The client for SQS: the one given, or one made for the function's own region and credentials. */
export function sqsClient(given: SdkClients | undefined): SQSClient {
  const endpoint = sqsEndpoint();
  return (
    given?.sqs ??
    // By the client and not by the environment: only so does SQS take the endpoint before the host in a queue's URL.
    new SQSClient({ ...CLIENT_OPTIONS, ...(endpoint === undefined ? {} : { endpoint }) })
  );
}

function attributesOf(attributes: Readonly<Record<string, SqsAttribute>>): Record<string, MessageAttributeValue> {
  const sent: Record<string, MessageAttributeValue> = {};
  for (const [name, { dataType, stringValue, binaryValue }] of Object.entries(attributes))
    sent[name] = {
      DataType: dataType,
      ...(dataType.startsWith("Binary")
        ? { BinaryValue: Buffer.from(binaryValue ?? "", "base64") }
        : { StringValue: stringValue }),
    };
  return sent;
}
