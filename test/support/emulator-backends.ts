import { inject } from "vitest";
import type { EmulatorName } from "../../scripts/emulators/versions.ts";
import { connect } from "../../lib/connect.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import type { Endpoints, TopologySpec } from "../../lib/task/topology.ts";
import type { ContractBackend } from "./contract-backends.ts";
import { gapsOf } from "./contract-backends.ts";
import type { ContractStack } from "./contract-stack.ts";
import { contractStack } from "./contract-stack.ts";

/** Where the emulator that runs beside these tests answers. @throws Error if the project starts none of that name */
export function endpointOf(name: EmulatorName): string {
  const site = inject("emulators")[name];
  if (site === undefined) throw new Error(`${name} does not run beside this project: test/support/emulator-setup.ts`);
  return site.endpoint;
}

/** Each test gets a queue of its own, since the emulator is shared. */
async function openOn(
  endpoint: string | Endpoints,
  spec: TopologySpec,
  close?: () => Promise<void>,
): Promise<ContractStack> {
  const queue = `contract-${process.pid}-${Date.now().toString(36)}-${opened++}`;
  const { backend } = await connect(await provision({ ...spec, queue }, { endpoint }), undefined);
  return contractStack(backend, close === undefined ? {} : { close });
}

let opened = 0;

/** A backend in which one emulator has all three services. */
function whole(name: EmulatorName): ContractBackend {
  return { name, gaps: gapsOf(name), clock: "real", open: (spec) => openOn(endpointOf(name), spec) };
}

/** A backend in which an emulator has one service, and the embedded stack has the others. */
function partly(name: EmulatorName, service: "sqs" | "dynamodb"): ContractBackend {
  return {
    name,
    gaps: gapsOf(name),
    clock: "real",
    open: async (spec) => {
      const { endpoints, close } = await startEmbeddedStack();
      return openOn({ ...endpoints, [service]: endpointOf(name) }, spec, close);
    },
  };
}

/** LocalStack, all three services. */
export const LOCALSTACK: ContractBackend = whole("localstack");

/** MiniStack, all three services. */
export const MINISTACK: ContractBackend = whole("ministack");

/** DynamoDB Local, for the ledger. */
export const DYNAMODB_LOCAL: ContractBackend = partly("dynamodb-local", "dynamodb");

/** ElasticMQ, for the queue. */
export const ELASTICMQ: ContractBackend = partly("elasticmq", "sqs");
