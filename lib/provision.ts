import { importAws } from "./connect.ts";
import { systemClock } from "./system.ts";
import { checkOptions } from "./task/known-options.ts";
import { TasklaneError } from "./task/errors.ts";
import { ENDPOINT, isEndpoint } from "./task/topology.ts";
import type { Endpoints, Topology, TopologySpec } from "./task/topology.ts";
import type { SdkClients } from "./connect.ts";

/** Where `provision` creates a topology. */
export interface ProvisionOptions {
  /** One URL for all three services, or one each, for an emulator or a compatible service. Default: AWS. */
  endpoint?: string | Endpoints | undefined;
  /** Default: the SDK's own search, by `AWS_REGION` and the shared configuration; `us-east-1` at an endpoint. */
  region?: string | undefined;
  /** SDK clients of your own, used as they are. */
  sdk?: SdkClients | undefined;
  /** Makes the bucket's name unique among all buckets of AWS. Default: account and region; at an endpoint none. */
  bucketSuffix?: string | undefined;
}

/**
 * Creates the queues, the table and the bucket of a topology, where they are missing, and answers the topology to connect to.
 *
 * Doing it again changes nothing, except that it sets back the attributes of a queue that somebody changed. It deletes nothing.
 * Meant for tests, emulators and first steps; in production the construct of `tasklane/cdk` does the same with alarms and grants.
 *
 * @throws TasklaneError `DEFINITION_INVALID`, `OPTION_INVALID`, `PERMISSION_DENIED`, `TOPOLOGY_INVALID`, `BACKEND_UNAVAILABLE`
 */
export async function provision(spec: TopologySpec = {}, options: ProvisionOptions = {}): Promise<Topology> {
  checkOptions(options, ["endpoint", "region", "sdk", "bucketSuffix"], "OPTION_INVALID", "provision");
  if (options.endpoint !== undefined && !isEndpoint(options.endpoint))
    throw new TasklaneError("OPTION_INVALID", {
      what: "The endpoint of provision is no address",
      received: options.endpoint,
      ...ENDPOINT,
    });
  const aws = await importAws(() => import("./aws/provision.ts"));
  return aws.provisionTopology(spec, options, systemClock);
}
