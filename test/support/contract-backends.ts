import { test } from "vitest";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import { connect } from "../../lib/connect.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import { provision } from "../../lib/provision.ts";
import type { TopologySpec } from "../../lib/task/topology.ts";
import type { BackendName } from "./backend-differences.ts";
import { differs } from "./backend-differences.ts";
import type { ContractStack } from "./contract-stack.ts";
import { contractStack } from "./contract-stack.ts";

/** In what a backend differs from AWS; the contract says of each what must hold all the same. */
export interface BackendGaps {
  /** What an earlier receive's receipt does to the message when it is acknowledged. */
  readonly staleDelete: "keeps" | "removes";
  /** A second put under one key overwrites the first. */
  readonly ignoresIfNoneMatch: boolean;
  /** A delay of more than 900 s is taken. */
  readonly acceptsLongDelay: boolean;
  /** A time out of sight of more than 12 hours is taken. */
  readonly acceptsLongVisibility: boolean;
  /** A character that XML 1.0 does not allow refuses its neighbours too. */
  readonly refusesNeighbours: boolean;
}

/** A backend that the contract suites run on. */
export interface ContractBackend {
  readonly name: string;
  readonly gaps: BackendGaps;
  /** On the real clock nothing can wait for hours. */
  readonly clock: "manual" | "real";
  open(spec: TopologySpec): Promise<ContractStack>;
}

/** No gap at all. */
export const AS_AWS: BackendGaps = {
  staleDelete: "keeps",
  ignoresIfNoneMatch: false,
  acceptsLongDelay: false,
  acceptsLongVisibility: false,
  refusesNeighbours: false,
};

/** A backend's gaps, from the table of differences. */
export function gapsOf(backend: BackendName): BackendGaps {
  return {
    staleDelete: differs(backend, "stale-receipt-deletes") ? "removes" : "keeps",
    ignoresIfNoneMatch: differs(backend, "if-none-match"),
    acceptsLongDelay: differs(backend, "long-delay"),
    acceptsLongVisibility: differs(backend, "long-visibility"),
    refusesNeighbours: differs(backend, "noncharacter-in-a-batch"),
  };
}

/**
 * Defines a test where a backend can be held to it. What it cannot be held to stands in its gaps, and is not there to be
 * skipped: a skipped test would count as a failure.
 */
export function testWhere(possible: boolean): typeof test | (() => undefined) {
  return possible ? test : () => undefined;
}

/** Every backend that has to pass the contract suites: a new one is a line here. */
export const CONTRACT_BACKENDS: readonly ContractBackend[] = [
  { name: "memory", gaps: AS_AWS, clock: "manual", open: (spec) => openMemory(spec, "keeps") },
  {
    name: "memory that removes by stale receipts",
    gaps: { ...AS_AWS, staleDelete: "removes" },
    clock: "manual",
    open: (spec) => openMemory(spec, "removes"),
  },
  { name: "the embedded stack", gaps: gapsOf("embedded"), clock: "real", open: openEmbedded },
];

function openMemory(spec: TopologySpec, staleDelete: BackendGaps["staleDelete"]): Promise<ContractStack> {
  const clock = new ManualClock();
  const backend: Backend = createMemoryBackend({ clock, spec, staleDelete });
  return Promise.resolve(contractStack(backend, { clock }));
}

async function openEmbedded(spec: TopologySpec): Promise<ContractStack> {
  const { endpoints, close } = await startEmbeddedStack();
  const { backend } = await connect(await provision(spec, { endpoint: endpoints }), undefined);
  return contractStack(backend, { close });
}
