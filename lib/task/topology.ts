import { TasklaneError } from "./errors.ts";
import { canonicalJson, parseUntrustedJson } from "./json.ts";
import type { Json } from "./json.ts";
import type { Lane } from "./lane.ts";
import { isLane, LANES } from "./lane.ts";
import { checkOptions } from "./known-options.ts";
import { DEFAULT_MAX_BACKLOG } from "./limits.ts";
import { checkName, NAME_PATTERN } from "./name.ts";

/** Lanes and limits as wished: what the construct, `provision` and the embedded stack are given. */
export interface TopologySpec {
  /** Names everything. Default `"tasklane"`. */
  queue?: string | undefined;
  /** Default all four. A lane that is not deployed sends its tasks to `normal`'s queue, so `normal` is always there. */
  lanes?: readonly Lane[] | undefined;
  /** Tasks in a lane at which enqueue is refused; approximate, as SQS's counts are. Default 1,000,000. */
  maxBacklog?: number | Partial<Readonly<Record<Lane, number>>> | undefined;
}

/** Where one service answers, if not at AWS. */
export interface Endpoints {
  readonly sqs: string;
  readonly dynamodb: string;
  readonly s3: string;
}

/** One lane as it exists. */
export interface LaneTopology {
  readonly url: string;
  /** URL of the dead letter queue. Producers may lack it. */
  readonly dlq?: string | undefined;
  readonly maxBacklog?: number | undefined;
}

/** Queue URLs, table and bucket as they exist: what clients and workers connect to. As JSON it is at most 700 bytes for a producer. */
export interface Topology {
  readonly queue: string;
  readonly region?: string | undefined;
  /** One URL for all three services, or one each, with `http://` or `https://`. Default: AWS. */
  readonly endpoint?: string | Endpoints | undefined;
  readonly lanes: Partial<Readonly<Record<Lane, LaneTopology>>>;
  readonly table: string;
  readonly bucket: string;
}

/** The queue name where none is given. */
const DEFAULT_QUEUE_NAME = "tasklane";

/** A spec with every value settled. */
export interface SettledSpec {
  readonly queue: string;
  readonly lanes: readonly Lane[];
  readonly maxBacklog: Readonly<Record<Lane, number>>;
}

/** Settles a spec's values. @throws TasklaneError `DEFINITION_INVALID` */
export function settleSpec(spec: TopologySpec = {}): SettledSpec {
  checkOptions(spec, ["queue", "lanes", "maxBacklog"], "DEFINITION_INVALID", "a queue's topology");
  const queue = spec.queue ?? DEFAULT_QUEUE_NAME;
  const what = checkName(queue, "queue");
  const lanes = LANES.filter((lane) => (spec.lanes ?? LANES).includes(lane));
  const unknown = (spec.lanes ?? []).find((lane) => !isLane(lane));
  if (unknown !== undefined || !lanes.includes("normal"))
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The lanes of ${what} cannot be deployed`,
      received: spec.lanes,
      expected: 'any of "critical", "high", "normal", "low", with "normal" among them',
      fix: "leave lanes out for all four",
    });
  const limits = spec.maxBacklog ?? DEFAULT_MAX_BACKLOG;
  const maxBacklog = { critical: 0, high: 0, normal: 0, low: 0 };
  for (const lane of LANES) {
    maxBacklog[lane] = typeof limits === "number" ? limits : (limits[lane] ?? DEFAULT_MAX_BACKLOG);
    if (!Number.isInteger(maxBacklog[lane]) || maxBacklog[lane] < 1)
      throw new TasklaneError("DEFINITION_INVALID", {
        what: `The maxBacklog of ${what}, lane ${lane}, lets nothing in`,
        received: maxBacklog[lane],
        expected: "a whole number of tasks, at least 1",
        fix: `leave it out for ${DEFAULT_MAX_BACKLOG}`,
      });
  }
  return { queue, lanes, maxBacklog };
}

/** https://docs.aws.amazon.com/AmazonS3/latest/userguide/bucketnamingrules.html */
const BUCKET_NAME_MAX_CHARS = 63;

/** The names of what a topology consists of, for whoever creates it. */
export function resourceNames(queue: string): {
  table: string;
  lane(lane: Lane): string;
  dlq(lane: Lane): string;
  bucket(suffix: string): string;
} {
  return {
    table: queue.padEnd(3, "-"),
    lane: (lane) => `${queue.replaceAll(".", "_")}-${lane}`,
    dlq: (lane) => `${queue.replaceAll(".", "_")}-${lane}-dlq`,
    bucket: (suffix) => {
      // What tells buckets apart is at the end, so a long queue name is cut, not the whole.
      const end = `-payloads${suffix === "" ? "" : `-${suffix}`}`;
      return (
        queue.replace(/[._]/g, "-").slice(0, Math.max(3, BUCKET_NAME_MAX_CHARS - end.length)) + end
      ).toLowerCase();
    },
  };
}

/** The deployed lane that carries a lane's tasks: itself, or `normal`. */
export function carrierOf(topology: Topology, lane: Lane): Lane {
  return topology.lanes[lane] === undefined ? "normal" : lane;
}

/** The lanes that exist, most urgent first. */
export function deployedLanes(topology: Topology): readonly Lane[] {
  return LANES.filter((lane) => topology.lanes[lane] !== undefined);
}

/** The variable of the environment that holds a topology, or the path of its file. */
export const TOPOLOGY_VARIABLE = "TASKLANE_TOPOLOGY";

/** The variable that holds one queue's topology, as in `TASKLANE_TOPOLOGY_MAIL_OUT` for `mail-out`, `mail.out` and `mail_out`. */
export function topologyVariable(queue: string): string {
  return `${TOPOLOGY_VARIABLE}_${queue.toUpperCase().replace(/[^A-Z0-9]/g, "_")}`;
}

/**
 * Reads a topology from JSON: its own form, or a cdk outputs file, in which the values of some outputs are that form.
 *
 * @param queue which one is meant. Default: the only one
 * @throws TasklaneError `TOPOLOGY_INVALID`; `TOPOLOGY_MISSING` if it holds others than the one that is meant
 */
export function parseTopology(json: string, source: string, queue?: string): Topology {
  const parsed = parseUntrustedJson(json, 1_000_000);
  if (!parsed.ok) return refuse(source, parsed.reason);
  const all = findTopologies(parsed.value, 0);
  const meant = queue === undefined ? all : all.filter(({ topology }) => topology.queue === queue);
  const [found] = meant;
  if (found === undefined)
    return all.length === 0 || queue === undefined
      ? refuse(source, "it holds no queue, lanes, table and bucket")
      : refuseOthers(source, queue, all);
  // An outputs file may hold the same one twice.
  const texts = new Set(meant.map((each) => canonicalJson({ ...each }, source)));
  if (texts.size > 1) return refuseSeveral(source, meant);
  return {
    ...found.topology,
    ...readEndpoint(found.endpoint, `the endpoint of queue "${found.topology.queue}" in ${source}`),
  };
}

/** A topology whose endpoint is looked at once it is known to be the one that is meant. */
interface Found {
  readonly topology: Topology;
  readonly endpoint: Json;
}

function findTopologies(value: Json, depth: number): Found[] {
  if (typeof value === "string" && depth > 0 && value.includes('"lanes"')) {
    const inner = parseUntrustedJson(value, 100_000);
    return inner.ok ? findTopologies(inner.value, depth + 1) : [];
  }
  if (typeof value !== "object" || value === null || Array.isArray(value) || depth > 3) return [];
  if (value["lanes"] === undefined) return Object.values(value).flatMap((inner) => findTopologies(inner, depth + 1));
  const topology = readTopology(value);
  return topology === undefined ? [] : [{ topology, endpoint: value["endpoint"] ?? null }];
}

function readTopology(value: { [key: string]: Json }): Topology | undefined {
  const { queue, region, lanes, table, bucket } = value;
  if (typeof queue !== "string" || !NAME_PATTERN.test(queue) || typeof table !== "string" || typeof bucket !== "string")
    return undefined;
  if (typeof lanes !== "object" || lanes === null || Array.isArray(lanes)) return undefined;
  const found: Partial<Record<Lane, LaneTopology>> = {};
  for (const [lane, entry] of Object.entries(lanes)) {
    if (!isLane(lane) || typeof entry !== "object" || entry === null || Array.isArray(entry)) return undefined;
    const { url, dlq, maxBacklog } = entry;
    if (typeof url !== "string") return undefined;
    found[lane] = {
      url,
      ...(typeof dlq === "string" ? { dlq } : {}),
      ...(typeof maxBacklog === "number" && maxBacklog >= 1 ? { maxBacklog } : {}),
    };
  }
  if (found.normal === undefined) return undefined;
  return { queue, lanes: found, table, bucket, ...(typeof region === "string" ? { region } : {}) };
}

/** Half an endpoint is refused: the services that it leaves out would be AWS's. */
function readEndpoint(value: Json, what: string): { endpoint?: string | Endpoints } {
  if (value === null) return {};
  if (!isEndpoint(value))
    throw new TasklaneError("TOPOLOGY_INVALID", {
      what: `There is no address in ${what}`,
      received: value,
      ...ENDPOINT,
    });
  if (typeof value === "string") return { endpoint: value };
  const { sqs, dynamodb, s3 } = value;
  return { endpoint: { sqs, dynamodb, s3 } };
}

/** What an endpoint is expected to be. */
export const ENDPOINT = {
  expected: "a URL that begins with http:// or https://, or { sqs, dynamodb, s3 } of such",
  fix: 'for example "http://127.0.0.1:4566"; leave it out for AWS',
} as const;

/** Tells whether all three services are found by it. */
export function isEndpoint(value: unknown): value is string | Endpoints {
  if (typeof value !== "object" || value === null) return isUrl(value);
  return ["sqs", "dynamodb", "s3"].every((service) => isUrl(Reflect.get(value, service)));
}

/** Without its `http://` an address has no host that the SDK could find. */
function isUrl(value: unknown): boolean {
  return typeof value === "string" && /^https?:\/\//i.test(value) && URL.canParse(value);
}

function refuseOthers(source: string, queue: string, found: readonly Found[]): never {
  const names = [...new Set(found.map(({ topology }) => topology.queue))];
  throw new TasklaneError("TOPOLOGY_MISSING", {
    what: `The topology in ${source} is that of another queue`,
    received: names.length === 1 ? names[0] : names,
    expected: queue,
    fix: `give that queue's, as { topology } or in ${topologyVariable(queue)}, or correct the name in queue (queueName for TaskQueue.fromTopology)`,
  });
}

function refuseSeveral(source: string, found: readonly Found[]): never {
  const names = new Set(found.map(({ topology }) => topology.queue));
  const isOneName = names.size === 1;
  throw new TasklaneError("TOPOLOGY_INVALID", {
    what: isOneName
      ? `There are topologies of queue "${[...names].join()}" in ${source} that differ`
      : `The topology in ${source} is that of more than one queue`,
    received: isOneName ? `those of tables ${found.map(({ topology }) => topology.table).join(" and ")}` : [...names],
    expected: isOneName ? "one" : "one, or the name of the one that is meant",
    fix: isOneName
      ? "give the output Topology of the one that is meant by itself"
      : "name it by the option queue, or by queueName for TaskQueue.fromTopology",
  });
}

function refuse(source: string, why: string): never {
  throw new TasklaneError("TOPOLOGY_INVALID", {
    what: `The topology in ${source} cannot be read: ${why}`,
    expected: '{"queue","lanes":{"normal":{"url"}},"table","bucket"}, or a cdk outputs file that holds it',
    fix: "take it from provision(), from the output Topology of the stack, or from startLocal().env",
  });
}
