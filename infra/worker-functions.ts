import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Duration } from "aws-cdk-lib";
import type { IRole } from "aws-cdk-lib/aws-iam";
import { Architecture, RecursiveLoop, Runtime } from "aws-cdk-lib/aws-lambda";
import type { BundlingOptions } from "aws-cdk-lib/aws-lambda-nodejs";
import { NodejsFunction, OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import { makeFunctionRole, makeLogGroup } from "./function-role.ts";
import { laneId } from "./lane-queues.ts";
import type { WorkerProps } from "./task-queue-props.ts";

/** A worker function's timeout, where none is given. */
export const WORKER_TIMEOUT_SECONDS = 60;
const WORKER_MEMORY_MB = 512;

const LOCK_FILES = ["package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];

/** Parts of the SDK are CommonJS and ask for Node's modules by `require`, which an ES module has not. */
const REQUIRE_BANNER =
  'import { createRequire as createRequireForBundle } from "node:module"; const require = createRequireForBundle(import.meta.url);';

/** What the worker functions of a queue are made with. */
export interface WorkerFunctionsOptions {
  readonly entry: string | URL;
  readonly lanes: readonly Lane[];
  readonly logRetention: RetentionDays;
  readonly props: WorkerProps;
}

/** Makes a worker function for each lane, of one bundle and one role. */
export function makeWorkerFunctions(
  scope: Construct,
  options: WorkerFunctionsOptions,
): Partial<Record<Lane, NodejsFunction>> {
  const entry = findEntry(scope, options.entry);
  const { batchSize: _, maxBatchingWindow: __, bundling, ...props } = options.props;
  const lockFile = props.depsLockFilePath ?? findLockFile(scope);
  if (bundling?.forceDockerBundling !== true) checkEsbuild(scope, lockFile);
  const role: IRole = props.role ?? makeFunctionRole(scope, "WorkerRole", props.vpc !== undefined);
  const workers: Partial<Record<Lane, NodejsFunction>> = {};
  for (const lane of options.lanes) {
    const logGroup = makeLogGroup(scope, `${laneId(lane)}WorkerLogs`, options.logRetention, role);
    workers[lane] = new NodejsFunction(scope, `${laneId(lane)}Worker`, {
      description: `Tasklane: runs the tasks of lane ${lane}.`,
      runtime: Runtime.NODEJS_24_X,
      architecture: Architecture.ARM_64,
      timeout: Duration.seconds(WORKER_TIMEOUT_SECONDS),
      memorySize: WORKER_MEMORY_MB,
      // A task that enqueues the next one is no accident; its hops are bounded by the task itself.
      recursiveLoop: RecursiveLoop.ALLOW,
      ...props,
      environment: { NODE_OPTIONS: "--enable-source-maps", ...props.environment },
      depsLockFilePath: lockFile,
      entry,
      handler: "handler",
      logGroup,
      role,
      bundling: bundlingOf(bundling),
    });
  }
  return workers;
}

function bundlingOf(given: BundlingOptions = {}): BundlingOptions {
  return {
    format: OutputFormat.ESM,
    mainFields: ["module", "main"],
    target: "node22",
    minify: true,
    // What logs call an error is its class's name.
    keepNames: true,
    sourceMap: true,
    sourcesContent: false,
    // The runtime's own copy changes under a function that nobody deployed, and emulators have none.
    bundleAwsSDK: true,
    ...given,
    externalModules: [...missingOptionalModules(), ...(given.externalModules ?? [])],
    banner: given.format === OutputFormat.CJS ? (given.banner ?? "") : `${REQUIRE_BANNER}${given.banner ?? ""}`,
  };
}

/** Tasklane imports these where an app has them; esbuild must not look for one that it has not. */
function missingOptionalModules(): string[] {
  return ["@opentelemetry/api"].filter((name) => !canResolve(name, process.cwd()));
}

function findEntry(scope: Construct, entry: string | URL): string {
  const path = entry instanceof URL || entry.startsWith("file:") ? fileURLToPath(entry) : resolve(entry);
  if (existsSync(path)) return path;
  throw new TasklaneError("DEFINITION_INVALID", {
    what: `The workerEntry of ${scope.node.path} does not exist`,
    received: path,
    expected: "a module that exports `handler = createLambdaWorker({ handlers })`",
    fix: 'give the path from the folder that cdk runs in, or new URL("./worker.ts", import.meta.url)',
  });
}

function findLockFile(scope: Construct): string {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const found = LOCK_FILES.map((name) => join(folder, name)).find(existsSync);
    if (found !== undefined) return found;
    if (folder !== dirname(folder)) continue;
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The worker of ${scope.node.path} cannot be bundled: there is no lock file in ${process.cwd()} or above`,
      expected: LOCK_FILES.join(", "),
      fix: "run npm install once, or give workerProps.depsLockFilePath",
    });
  }
}

/** Without esbuild beside it, the CDK starts a container to bundle in, which takes minutes and needs Docker. */
function checkEsbuild(scope: Construct, lockFile: string): void {
  if (canResolve("esbuild", process.cwd()) || canResolve("esbuild", dirname(lockFile))) return;
  throw new TasklaneError("DEFINITION_INVALID", {
    what: `The worker of ${scope.node.path} cannot be bundled: esbuild is not installed`,
    fix: "npm install --save-dev esbuild, or set workerProps.bundling.forceDockerBundling",
  });
}

function canResolve(name: string, folder: string): boolean {
  try {
    createRequire(join(folder, "package.json")).resolve(name);
    return true;
  } catch {
    return false;
  }
}
