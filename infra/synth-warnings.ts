import { Annotations, Names, Stack, Token } from "aws-cdk-lib";
import { LANES } from "../lib/task/lane.ts";
import type { Topology } from "../lib/task/topology.ts";
import { queueResource } from "./lane-queues.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { forProducers, TaskQueueReference } from "./task-queue-reference.ts";

/** A function has 4 KB for all its variables; a producer's topology takes no more than this of them. */
const PRODUCER_TOPOLOGY_MAX_BYTES = 700;
/** What a region, an account and a bucket have at most, where the stack does not tell. */
const LONGEST_REGION = "ap-southeast-1";
const HOST_SUFFIX = "amazonaws.com";
const ANY_ACCOUNT = "123456789012";
const BUCKET_NAME_MAX_CHARS = 63;
/** What CloudFormation adds to the names it makes: a dash and twelve characters. */
const SUFFIX_CHARS = 13;

/** Warns where two queues of one account and region have one name: their metrics run together, and messages of one pass in the other. */
export function warnOfSameName(queue: TaskQueueReference): void {
  const { account, region } = Stack.of(queue);
  const twin = queue.node.root.node
    .findAll()
    .find(
      (other) =>
        other !== queue &&
        other instanceof TaskQueueReference &&
        other.queueName === queue.queueName &&
        Stack.of(other).account === account &&
        Stack.of(other).region === region,
    );
  if (twin === undefined) return;
  Annotations.of(queue).addWarningV2(
    "tasklane:queueName",
    `${queue.node.path} and ${twin.node.path} are both named "${queue.queueName}": if they are of one account and region, their metrics run together. Give one of them another queueName.`,
  );
}

/** Warns where a producer's topology will be too long, which only the names that the deploy makes decide. */
export function warnOfLongTopology(queue: TaskQueueReference, parts: Topology, lanes: readonly LaneQueues[]): void {
  const bytes = producerTopologyBytes(queue, parts, lanes);
  if (bytes <= PRODUCER_TOPOLOGY_MAX_BYTES) return;
  Annotations.of(queue).addWarningV2(
    "tasklane:topologySize",
    `The topology of ${queue.node.path} takes about ${bytes} bytes of a producer's environment, more than ${PRODUCER_TOPOLOGY_MAX_BYTES}. Shorten queueName, or the names of the stack and of the construct.`,
  );
}

/** How long a producer's topology gets, at most. */
function producerTopologyBytes(queue: TaskQueueReference, parts: Topology, lanes: readonly LaneQueues[]): number {
  const stack = Stack.of(queue);
  const region = Token.isUnresolved(stack.region) ? LONGEST_REGION : stack.region;
  const tableName = `${stack.stackName}-${Names.uniqueId(queue)}Ledger`;
  const producer = forProducers(parts, stack.region);
  const longest: Topology = {
    ...producer,
    lanes: Object.fromEntries(
      LANES.flatMap((lane) => {
        const source = lanes.find((each) => each.lane === lane);
        if (source === undefined) return [];
        const name = queueResource(source.queue).queueName ?? "";
        const url = `https://sqs.${region}.${HOST_SUFFIX}/${ANY_ACCOUNT}/${name}`;
        return [[lane, { ...producer.lanes[lane], url }]];
      }),
    ),
    table: "t".repeat(Math.min(255, tableName.length + SUFFIX_CHARS)),
    bucket: "b".repeat(BUCKET_NAME_MAX_CHARS),
  };
  return JSON.stringify(longest).length;
}
