import { Fn, Stack, Token } from "aws-cdk-lib";
import type { MetricOptions } from "aws-cdk-lib/aws-cloudwatch";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { Construct } from "constructs";
import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { deployedLanes, parseTopology } from "../lib/task/topology.ts";
import type { Topology } from "../lib/task/topology.ts";
import { TaskQueueGrants } from "./grants.ts";
import { TaskQueueReference } from "./task-queue-reference.ts";

/** What a topology does not tell. */
export interface ImportOptions {
  /** The key of the queue, if it has one of its own: roles need permissions on it. */
  readonly encryptionKey?: IKey | undefined;
  /** Which queue is meant, where a cdk outputs file has several. @default the only one */
  readonly queueName?: string | undefined;
}

/** A queue that was made elsewhere, known by its topology. */
export class ImportedTaskQueue extends TaskQueueReference {
  readonly queueName: string;
  readonly grants: TaskQueueGrants;
  protected readonly parts: Topology;
  protected readonly sqsNames: Partial<Readonly<Record<Lane, string>>>;
  protected override readonly metricPlace: Pick<MetricOptions, "region"> = {};

  constructor(scope: Construct, id: string, topology: Topology, { encryptionKey }: ImportOptions) {
    super(scope, id);
    if (topology.region !== undefined) this.metricPlace = { region: topology.region };
    const stack = Stack.of(this);
    const region = topology.region ?? stack.region;
    this.queueName = topology.queue;
    this.parts = topology;
    const lanes = deployedLanes(topology).map((lane) => {
      const { url = "", dlq } = topology.lanes[lane] ?? {};
      return {
        lane,
        queue: readQueueUrl(url, this.node.path),
        deadLetterQueue: dlq === undefined ? undefined : readQueueUrl(dlq, this.node.path),
      };
    });
    this.sqsNames = Object.fromEntries(lanes.map(({ lane, queue }) => [lane, queue.name]));
    const queueArn = ({ account, name }: QueuePlace): string =>
      stack.formatArn({ service: "sqs", region, account, resource: name });
    this.grants = new TaskQueueGrants({
      queueArns: lanes.map(({ queue }) => queueArn(queue)),
      deadLetterQueueArns: lanes.flatMap(({ deadLetterQueue }) =>
        deadLetterQueue === undefined ? [] : [queueArn(deadLetterQueue)],
      ),
      // A table lies in the account of its queues.
      tableArn: stack.formatArn({
        service: "dynamodb",
        region,
        ...(lanes[0] === undefined ? {} : { account: lanes[0].queue.account }),
        resource: "table",
        resourceName: topology.table,
      }),
      bucketArn: stack.formatArn({ service: "s3", region: "", account: "", resource: topology.bucket }),
      encryptionKey,
    });
  }
}

/**
 * Reads a topology that must be known before the deploy, since its names become those of permissions.
 *
 * @param source what to call it in an error
 * @param queueName which one is meant, where there are several
 * @throws TasklaneError `TOPOLOGY_INVALID`, `TOPOLOGY_MISSING`
 */
export function readDeployedTopology(topology: Topology | string, source: string, queueName?: string): Topology {
  if (typeof topology === "string" && Token.isUnresolved(topology))
    throw new TasklaneError("TOPOLOGY_INVALID", {
      what: `The topology of ${source} is known to the deploy alone`,
      received: topology,
      expected: "an object, or the text of a cdk outputs file or of the output Topology",
      fix: "use the queue itself if it is of this app: its addProducer and grants reach other stacks; else read its outputs file",
    });
  const parsed = parseTopology(typeof topology === "string" ? topology : JSON.stringify(topology), source, queueName);
  for (const { url, dlq = url } of Object.values(parsed.lanes))
    for (const each of [url, dlq]) readQueueUrl(each, source);
  return parsed;
}

interface QueuePlace {
  readonly account: string;
  readonly name: string;
}

/** A queue's URL ends in its account and its name. */
function readQueueUrl(url: string, source: string): QueuePlace {
  if (Token.isUnresolved(url)) {
    const parts = Fn.split("/", url);
    return { account: Fn.select(3, parts), name: Fn.select(4, parts) };
  }
  const [account = "", name = ""] = URL.canParse(url) ? new URL(url).pathname.split("/").slice(-2) : [];
  if (account !== "" && name !== "") return { account, name };
  throw new TasklaneError("TOPOLOGY_INVALID", {
    what: `The topology of ${source} has a lane without the URL of a queue`,
    received: url,
    expected: "https://sqs.REGION.amazonaws.com/ACCOUNT/NAME",
    fix: "take the topology as it is in the stack's output Topology",
  });
}
