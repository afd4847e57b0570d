/**
 * The import rule of the library as one table: what each part of `lib` may import. Lint (`oxlint.config.ts`) and
 * `test/docs/structure.test.ts` both read it, so that the editor and the test suite cannot disagree.
 */

/** One part of `lib`: a folder, or a file at its root. */
export interface Layer {
  /** The folder's name, or the file's name with `.ts`. */
  readonly name: string;
  /** The other parts it may import. Its own files are always allowed. */
  readonly sees: readonly string[];
  /** Packages it may import; `node:*` stands for Node's own modules, and a trailing `*` for any ending. */
  readonly packages: readonly string[];
}

const NODE = "node:*";
const AWS_CLIENTS = ["@aws-sdk/*", "@smithy/*"];

const PARTS: readonly Layer[] = [
  { name: "task", sees: [], packages: ["@standard-schema/spec"] },
  { name: "ports", sees: ["task"], packages: [] },
  // OpenTelemetry's API is an optional peer, loaded where an app has it.
  { name: "flow", sees: ["task", "ports", "control"], packages: [NODE, "@opentelemetry/api"] },
  { name: "control", sees: ["task", "ports", "flow"], packages: [NODE] },
  { name: "aws", sees: ["task", "ports"], packages: [NODE, ...AWS_CLIENTS] },
  { name: "memory", sees: ["task", "ports"], packages: [NODE] },
  { name: "system.ts", sees: ["task", "ports"], packages: [NODE] },
  {
    name: "local",
    sees: ["task", "ports", "aws", "system.ts"],
    packages: [NODE, ...AWS_CLIENTS, "fauxqs", "dynalite"],
  },
  {
    name: "connect.ts",
    sees: ["task", "ports", "aws", "memory", "local", "system.ts"],
    packages: [NODE, ...AWS_CLIENTS],
  },
  {
    name: "client.ts",
    sees: ["task", "ports", "flow", "control", "connect.ts"],
    packages: [NODE],
  },
  { name: "scheduler.ts", sees: ["task", "ports", "flow", "connect.ts"], packages: [] },
  { name: "worker-log.ts", sees: ["task", "ports", "flow"], packages: [NODE] },
  { name: "worker-options.ts", sees: ["task", "flow"], packages: [] },
  {
    name: "worker.ts",
    sees: ["task", "ports", "flow", "control", "connect.ts", "worker-log.ts", "worker-options.ts"],
    packages: [NODE],
  },
  {
    name: "lambda",
    sees: [
      "task",
      "ports",
      "flow",
      "control",
      "aws",
      "connect.ts",
      "scheduler.ts",
      "system.ts",
      "worker-log.ts",
      "worker-options.ts",
    ],
    packages: [NODE, ...AWS_CLIENTS, "@middy/core"],
  },
  { name: "provision.ts", sees: ["task", "aws", "connect.ts", "system.ts"], packages: [NODE] },
];

const EVERY_PART = PARTS.map((part) => part.name);

/** Every part of `lib`, leaves first. A folder or root file that has no row here fails the structure test. */
export const LAYERS: readonly Layer[] = [
  ...PARTS,
  { name: "testing", sees: EVERY_PART, packages: [NODE, ...AWS_CLIENTS] },
  { name: "index.ts", sees: EVERY_PART, packages: [] },
];

/** The one file of `lib` that may read the real clock and draw real randomness. */
export const SYSTEM_FILE = "system.ts";

/** Global functions that only `lib/system.ts` may name. */
export const BANNED_GLOBALS: readonly string[] = ["setTimeout", "setInterval", "setImmediate"];

/** Properties that only `lib/system.ts` may read, as object and property. */
export const BANNED_PROPERTIES: readonly (readonly [string, string])[] = [
  ["Date", "now"],
  ["Math", "random"],
  ["performance", "now"],
  ["process", "hrtime"],
  ["AbortSignal", "timeout"],
  ["crypto", "randomUUID"],
  ["crypto", "getRandomValues"],
];

/** Names that only `lib/system.ts` may import from Node. */
export const BANNED_IMPORTS: readonly { readonly from: string; readonly names: readonly string[] | "all" }[] = [
  { from: "node:timers", names: "all" },
  { from: "node:timers/promises", names: "all" },
  { from: "node:perf_hooks", names: ["performance"] },
  {
    from: "node:crypto",
    names: ["randomUUID", "randomUUIDv7", "randomBytes", "randomInt", "randomFill", "randomFillSync", "webcrypto"],
  },
];
