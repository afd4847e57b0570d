import { Fn, Stack, Token } from "aws-cdk-lib";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { Construct } from "constructs";
import type { Lane } from "../lib/task/lane.ts";
import { deployedLanes } from "../lib/task/topology.ts";
import type { Topology } from "../lib/task/topology.ts";
import { TaskQueueGrants } from "./grants.ts";
import { TaskQueueReference } from "./task-queue-reference.ts";

/** A queue that was made elsewhere, known by its topology. */
export class ImportedTaskQueue extends TaskQueueReference {
  readonly queueName: string;
  readonly grants: TaskQueueGrants;
  protected readonly parts: Topology;
  protected readonly sqsNames: Partial<Readonly<Record<Lane, string>>>;

  constructor(scope: Construct, id: string, topology: Topology, encryptionKey: IKey | undefined) {
    super(scope, id);
    const stack = Stack.of(this);
    const region = topology.region ?? stack.region;
    this.queueName = topology.queue;
    this.parts = topology;
    const lanes = deployedLanes(topology).map((lane) => {
      const { url = "", dlq } = topology.lanes[lane] ?? {};
      return { lane, queue: readQueueUrl(url), deadLetterQueue: dlq === undefined ? undefined : readQueueUrl(dlq) };
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

interface QueuePlace {
  readonly account: string;
  readonly name: string;
}

/** A queue's URL ends in its account and its name. */
function readQueueUrl(url: string): QueuePlace {
  if (Token.isUnresolved(url)) {
    const parts = Fn.split("/", url);
    return { account: Fn.select(3, parts), name: Fn.select(4, parts) };
  }
  const [account = "", name = ""] = new URL(url).pathname.split("/").slice(-2);
  return { account, name };
}
