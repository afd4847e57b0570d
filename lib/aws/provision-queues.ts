import type { QueueAttributeName, SQSClient } from "@aws-sdk/client-sqs";
import {
  CreateQueueCommand,
  GetQueueAttributesCommand,
  GetQueueUrlCommand,
  SetQueueAttributesCommand,
} from "@aws-sdk/client-sqs";
import type { Clock } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import {
  DLQ_RETENTION_MS,
  QUEUE_RETENTION_MS,
  RECEIVE_LIMIT,
  SQS_MESSAGE_MAX_BYTES,
  SQS_WAIT_MAX_MS,
} from "../task/limits.ts";
import type { Endpoints } from "../task/topology.ts";
import { isNamed, toTasklaneError } from "./aws-errors.ts";
import { settleEndpoints } from "./clients.ts";

/** A queue that was just created may not be found for about a second. */
const FIND_TRIES_MAX = 20;
const FIND_WAIT_MS = 250;

/** What creating queues takes. */
export interface QueueSite {
  readonly client: SQSClient;
  readonly clock: Clock;
  readonly endpoint?: string | Endpoints | undefined;
}

/** A lane's two queues as they exist. */
export interface LaneQueues {
  readonly url: string;
  readonly arn: string;
  readonly dlq: string;
}

type Attributes = Partial<Record<QueueAttributeName, string>>;

/** Creates a lane's queue and its dead letter queue, each bound to the other. */
export async function provisionLane(site: QueueSite, name: string, dlqName: string): Promise<LaneQueues> {
  const dlq = await provisionQueue(site, dlqName, attributesOf(DLQ_RETENTION_MS));
  const queue = await provisionQueue(site, name, {
    ...attributesOf(QUEUE_RETENTION_MS),
    RedrivePolicy: JSON.stringify({ deadLetterTargetArn: dlq.arn, maxReceiveCount: RECEIVE_LIMIT }),
  });
  await allowRedriveFrom(site, dlq, queue.arn);
  return { url: reachableUrl(site, queue.url), arn: queue.arn, dlq: reachableUrl(site, dlq.url) };
}

/** Lets only the lane's own queue name this dead letter queue. Some emulators lack the setting, which only keeps others out. */
async function allowRedriveFrom(site: QueueSite, dlq: Found, sourceArn: string): Promise<void> {
  try {
    await mend(site, dlq, {
      RedriveAllowPolicy: JSON.stringify({ redrivePermission: "byQueue", sourceQueueArns: [sourceArn] }),
    });
  } catch (error) {
    const isUnknown = error instanceof Error && isNamed(error.cause, "InvalidAttributeName");
    if (site.endpoint === undefined || !isUnknown) throw error;
  }
}

function attributesOf(retentionMs: number): Attributes {
  return {
    MessageRetentionPeriod: String(retentionMs / 1_000),
    // Given always: a template that leaves it out sets 1 MiB when it creates the queue, and 256 KiB when it updates it.
    MaximumMessageSize: String(SQS_MESSAGE_MAX_BYTES),
    ReceiveMessageWaitTimeSeconds: String(SQS_WAIT_MAX_MS / 1_000),
    SqsManagedSseEnabled: "true",
  };
}

interface Found {
  readonly url: string;
  readonly arn: string;
  readonly attributes: Attributes;
}

async function provisionQueue(site: QueueSite, name: string, wished: Attributes): Promise<Found> {
  try {
    const url = await findUrl(site, name);
    if (url !== undefined) {
      const found = await describe(site, url);
      await mend(site, found, wished);
      return found;
    }
    const created = await site.client.send(new CreateQueueCommand({ QueueName: name, Attributes: wished }));
    return await describe(site, created.QueueUrl ?? "");
  } catch (error) {
    throw toTasklaneError(error, { action: "sqs:CreateQueue", resource: `queue "${name}"` });
  }
}

async function findUrl(site: QueueSite, name: string): Promise<string | undefined> {
  try {
    return (await site.client.send(new GetQueueUrlCommand({ QueueName: name }))).QueueUrl;
  } catch (error) {
    if (isNamed(error, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue")) return undefined;
    throw error;
  }
}

async function describe(site: QueueSite, url: string): Promise<Found> {
  for (let tries = 1; ; tries++) {
    try {
      const { Attributes: attributes } = await site.client.send(
        new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ["All"] }),
      );
      return { url, arn: attributes?.QueueArn ?? "", attributes: attributes ?? {} };
    } catch (error) {
      const isNew = isNamed(error, "QueueDoesNotExist", "AWS.SimpleQueueService.NonExistentQueue");
      if (!isNew || tries === FIND_TRIES_MAX) throw error;
      await sleep(site.clock, FIND_WAIT_MS);
    }
  }
}

/** Sets the attributes that differ from what is wished, if any. */
async function mend(site: QueueSite, found: Found, wished: Attributes): Promise<void> {
  const drifted = Object.entries(wished).filter(([name, value]) => {
    const is = found.attributes[name as QueueAttributeName];
    // A key of the owner's own is stronger than the one asked for here, and the two exclude each other.
    if (name === "SqsManagedSseEnabled" && found.attributes.KmsMasterKeyId) return false;
    return is === undefined || canonical(is) !== canonical(value);
  });
  if (drifted.length === 0) return;
  try {
    await site.client.send(
      new SetQueueAttributesCommand({ QueueUrl: found.url, Attributes: Object.fromEntries(drifted) }),
    );
  } catch (error) {
    throw toTasklaneError(error, { action: "sqs:SetQueueAttributes", resource: found.url });
  }
}

/** Services write the same policy in one order or another, and the same number with or without quotes. */
function canonical(value: string): string {
  if (!value.startsWith("{")) return value;
  const policy: Record<string, unknown> = JSON.parse(value);
  return Object.keys(policy)
    .sort()
    .map((key) => `${key}=${String(policy[key])}`)
    .join(" ");
}

/** An emulator's URL may name a host that only it resolves; the path at the endpoint that was given is the same queue. */
function reachableUrl(site: QueueSite, url: string): string {
  const endpoint = settleEndpoints(site.endpoint)?.sqs;
  return endpoint === undefined ? url : new URL(new URL(url).pathname, endpoint).href;
}
