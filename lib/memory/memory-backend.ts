import type { Backend } from "../ports/backend.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { Lane } from "../task/lane.ts";
import type { LaneTopology, Topology, TopologySpec } from "../task/topology.ts";
import { resourceNames, settleSpec } from "../task/topology.ts";
import type { Faults } from "./memory-faults.ts";
import type { MemoryLedgerOptions } from "./memory-ledger.ts";
import { MemoryLedger } from "./memory-ledger.ts";
import { MemoryPayloads } from "./memory-payloads.ts";
import type { MemoryQueueOptions } from "./memory-queue.ts";
import { MemoryQueue } from "./memory-queue.ts";
import { seededRandom } from "./seeded-random.ts";

/** What a memory backend is made of. */
export interface MemoryBackendOptions
  extends Pick<MemoryQueueOptions, "duplicateRate" | "staleDelete">,
    Pick<MemoryLedgerOptions, "indexLagMs" | "ttlLagMs"> {
  readonly clock: Clock;
  /** Where message ids and duplicates come from. Default: seed 1. */
  readonly random?: Random | undefined;
  /** Which lanes there are, and their limits. Default: all four. */
  readonly spec?: TopologySpec | undefined;
  /** What goes wrong, entry by entry. Default nothing. */
  readonly faults?: Faults | undefined;
}

/** The three stores in memory, with what tests may look at and tamper with. */
export interface MemoryBackend extends Backend {
  readonly queue: MemoryQueue;
  readonly ledger: MemoryLedger;
  readonly payloads: MemoryPayloads;
}

/**
 * Makes the three stores in memory, with SQS's, DynamoDB's and S3's semantics on one clock.
 *
 * @throws TasklaneError `DEFINITION_INVALID` if the spec cannot work
 */
export function createMemoryBackend(options: MemoryBackendOptions): MemoryBackend {
  const { clock, faults, random = seededRandom(1) } = options;
  const topology = memoryTopology(options.spec);
  const lanes = settleSpec(options.spec).lanes;
  const queue = new MemoryQueue({ ...options, clock, random, lanes, faults });
  return {
    topology,
    queue,
    ledger: new MemoryLedger(options),
    payloads: new MemoryPayloads({ clock, faults }),
    close: () => queue.close(),
  };
}

function memoryTopology(spec: TopologySpec | undefined): Topology {
  const { queue, lanes, maxBacklog } = settleSpec(spec);
  const names = resourceNames(queue);
  const byLane: Partial<Record<Lane, LaneTopology>> = {};
  for (const lane of lanes)
    byLane[lane] = {
      url: `memory://sqs/${names.lane(lane)}`,
      dlq: `memory://sqs/${names.dlq(lane)}`,
      maxBacklog: maxBacklog[lane],
    };
  return { queue, lanes: byLane, table: names.table, bucket: names.bucket("memory") };
}
