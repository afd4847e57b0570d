import { readFile } from "node:fs/promises";
import { resolve } from "node:path";
import zlib from "node:zlib";
import type { SdkClients } from "./aws/clients.ts";
import type { Backend } from "./ports/backend.ts";
import type { Clock, Random } from "./ports/clock.ts";
import { systemClock, systemRandom } from "./system.ts";
import { TasklaneError } from "./task/errors.ts";
import { runtimeTooOld } from "./task/runtime.ts";
import type { Topology } from "./task/topology.ts";
import { parseTopology, TOPOLOGY_VARIABLE, topologyVariable } from "./task/topology.ts";

export type { SdkClients } from "./aws/clients.ts";

/** What a connection is made with. */
export interface ConnectOptions {
  /** Stores of another kind, as tests have them; then neither topology nor SDK is looked for. */
  readonly backend?: Backend | undefined;
  /** SDK clients of your own, used as they are. Default: made for the topology. */
  readonly sdk?: SdkClients | undefined;
  readonly clock?: Clock | undefined;
  readonly random?: Random | undefined;
}

/** The stores of a queue, with the time and the chance that go with them. */
export interface Connection {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly random: Random;
}

const INSTALL_SDK = "npm install @aws-sdk/client-sqs @aws-sdk/client-dynamodb @aws-sdk/client-s3";

/** The clock that goes with a connection, without connecting. */
export function clockOf(options: ConnectOptions): Clock {
  return options.clock ?? systemClock;
}

/**
 * Connects to the topology given, or to the one in the environment. Makes no call to a service yet.
 *
 * @throws TasklaneError `TOPOLOGY_MISSING`, `TOPOLOGY_INVALID`, or that the AWS SDK is not installed
 */
export async function connect(
  topology: Topology | undefined,
  queue: string | undefined,
  options: ConnectOptions = {},
): Promise<Connection> {
  checkRuntime();
  const clock = clockOf(options);
  const random = options.random ?? systemRandom;
  if (options.backend !== undefined) return { backend: options.backend, clock, random };
  const found = await resolveTopology(topology, queue);
  const { connectAws } = await importAws(() => import("./aws/connect-aws.ts"));
  return { backend: connectAws(found, clock, random, options.sdk), clock, random };
}

/** @throws TasklaneError `RUNTIME_TOO_OLD` */
function checkRuntime(): void {
  if (typeof zlib.zstdCompressSync === "function") return;
  throw runtimeTooOld("Tasklane");
}

/**
 * Loads code that needs the AWS SDK. Only then: a bundle of definitions holds neither.
 *
 * @throws TasklaneError with the line that installs what is missing
 */
export async function importAws<Loaded>(load: () => Promise<Loaded>): Promise<Loaded> {
  try {
    return await load();
  } catch (error) {
    if (!isModuleMissing(error)) throw error;
    throw new TasklaneError("BACKEND_UNAVAILABLE", {
      what: "The packages of the AWS SDK are not installed",
      received: error,
      fix: INSTALL_SDK,
      cause: error,
    });
  }
}

/**
 * Finds the topology to connect to: the one given, else the one in the environment.
 *
 * `TASKLANE_TOPOLOGY_<QUEUE>` goes before `TASKLANE_TOPOLOGY`; each holds JSON, or the path of a file that does, which may be
 * a cdk outputs file.
 *
 * @param queue the queue that is meant, if it matters
 * @throws TasklaneError `TOPOLOGY_MISSING`, `TOPOLOGY_INVALID`
 */
export async function resolveTopology(
  given: Topology | undefined,
  queue?: string,
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<Topology> {
  // Types say what it is where they are checked; a cdk outputs file that was read as JSON passes for one.
  if (given !== undefined) return parseTopology(textOf(given), "the topology option", queue);
  const names = queue === undefined ? [TOPOLOGY_VARIABLE] : [topologyVariable(queue), TOPOLOGY_VARIABLE];
  for (const name of names) {
    const value = environment[name]?.trim();
    if (value !== undefined && value !== "") return readTopology(value, name, queue);
  }
  throw new TasklaneError("TOPOLOGY_MISSING", {
    what: queue === undefined ? "No topology is given" : `No topology is given for queue "${queue}"`,
    expected: `{ topology }, or ${names.join(" or ")} with its JSON or the path of a file that holds it`,
    fix: `pass { topology }, or set ${names[0] ?? TOPOLOGY_VARIABLE} as provision() and startLocal().env give it; on Lambda addWorker and addProducer of the construct set it`,
  });
}

/** @throws TasklaneError `TOPOLOGY_INVALID` for the path of a file, which only the variable may be */
function textOf(given: unknown): string {
  if (typeof given !== "string" && !(given instanceof URL)) return JSON.stringify(given) ?? "";
  throw new TasklaneError("TOPOLOGY_INVALID", {
    what: "The topology option is a text or a URL",
    received: given,
    expected: "the topology itself",
    fix: `pass JSON.parse(…) of its JSON, or set ${TOPOLOGY_VARIABLE}, which may also be the path of its file`,
  });
}

async function readTopology(value: string, name: string, queue: string | undefined): Promise<Topology> {
  if (value.startsWith("{")) return parseTopology(value, name, queue);
  let json: string;
  try {
    json = await readFile(value, "utf8");
  } catch (error) {
    throw new TasklaneError("TOPOLOGY_INVALID", {
      what: `${name} names the file ${resolve(value)}, which cannot be read`,
      received: value,
      expected: "the topology's JSON, or the path of a file that holds it",
      fix: "make the topology first, by provision() or startLocal(), or give an absolute path",
      cause: error,
    });
  }
  return parseTopology(json, `${name}, file ${value}`, queue);
}

function isModuleMissing(error: unknown): boolean {
  return error instanceof Error && "code" in error && error.code === "ERR_MODULE_NOT_FOUND";
}
