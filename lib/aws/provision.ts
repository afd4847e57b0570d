import type { Clock } from "../ports/clock.ts";
import type { Topology, TopologySpec } from "../task/topology.ts";
import { resourceNames, settleSpec } from "../task/topology.ts";
import { toTasklaneError } from "./aws-errors.ts";
import type { SdkClients, Target } from "./clients.ts";
import { makeClients } from "./clients.ts";
import { provisionBucket } from "./provision-bucket.ts";
import { provisionLane } from "./provision-queues.ts";
import { provisionTable } from "./provision-table.ts";

/** Where and with what a topology is created. */
export interface ProvisionOptions extends Target {
  readonly sdk?: SdkClients | undefined;
  readonly bucketSuffix?: string | undefined;
}

/** Creates what is missing of a topology, and mends queues whose attributes drifted. Doing it again changes nothing. */
export async function provisionTopology(
  spec: TopologySpec,
  options: ProvisionOptions,
  clock: Clock,
): Promise<Topology> {
  const { queue, lanes, maxBacklog } = settleSpec(spec);
  const names = resourceNames(queue);
  const clients = makeClients(options, options.sdk);
  try {
    const region = await regionOf(() => clients.sqs.config.region());
    const atAws = options.endpoint === undefined;
    // Queues come first: a queue's ARN tells the account, which makes the bucket's name unique.
    const made = await Promise.all(
      lanes.map((lane) =>
        provisionLane({ client: clients.sqs, clock, endpoint: options.endpoint }, names.lane(lane), names.dlq(lane)),
      ),
    );
    const account = made[0]?.arn.split(":")[4] ?? "";
    const bucket = names.bucket(options.bucketSuffix ?? (atAws ? `${account}-${region}` : ""));
    await Promise.all([
      provisionTable({ client: clients.dynamodb, clock, isComplete: atAws }, names.table),
      provisionBucket({ client: clients.s3, region, isComplete: atAws }, bucket),
    ]);
    return {
      queue,
      region,
      ...(options.endpoint === undefined ? {} : { endpoint: options.endpoint }),
      lanes: Object.fromEntries(
        lanes.map((lane, place) => [
          lane,
          { url: made[place]?.url ?? "", dlq: made[place]?.dlq ?? "", maxBacklog: maxBacklog[lane] },
        ]),
      ),
      table: names.table,
      bucket,
    };
  } finally {
    clients.close();
  }
}

async function regionOf(read: () => Promise<string>): Promise<string> {
  try {
    return await read();
  } catch (error) {
    throw toTasklaneError(error, { action: "provision()", resource: "a queue" });
  }
}
