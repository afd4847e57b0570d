import { Duration } from "aws-cdk-lib";
import type { IRole } from "aws-cdk-lib/aws-iam";
import { Architecture, RecursiveLoop, Runtime } from "aws-cdk-lib/aws-lambda";
import type { BundlingOptions } from "aws-cdk-lib/aws-lambda-nodejs";
import { NodejsFunction, OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import type { Lane } from "../lib/task/lane.ts";
import { makeFunctionRole, makeLogGroup } from "./function-role.ts";
import { laneId } from "./lane-queues.ts";
import type { WorkerProps } from "./task-queue-props.ts";
import { canResolve, findWorkerEntry } from "./worker-entry.ts";

/** A worker function's timeout, where none is given. */
export const WORKER_TIMEOUT_SECONDS = 60;
const WORKER_MEMORY_MB = 512;

/** What a runtime of Lambda has of the AWS SDK. */
const SDK_MODULES = ["@aws-sdk/*", "@smithy/*"];

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
  const { batchSize: _, maxBatchingWindow: __, bundling, ...props } = withoutUndefined(options.props);
  const { entry, lockFile } = findWorkerEntry(scope, options.entry, { ...props, ...(bundling && { bundling }) });
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

function bundlingOf(options: BundlingOptions = {}): BundlingOptions {
  const given = withoutUndefined(options);
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
    // Once modules are named here, the CDK looks at nothing else.
    externalModules: [
      ...missingOptionalModules(),
      ...(given.bundleAwsSDK === false ? SDK_MODULES : []),
      ...(given.externalModules ?? []),
    ],
    banner: given.format === OutputFormat.CJS ? (given.banner ?? "") : `${REQUIRE_BANNER}${given.banner ?? ""}`,
  };
}

/** A setting that is there without a value is the same as none, and must not undo a default. */
function withoutUndefined<Settings extends object>(settings: Settings): Settings {
  const kept = { ...settings };
  for (const name of Object.keys(kept)) if (Reflect.get(kept, name) === undefined) Reflect.deleteProperty(kept, name);
  return kept;
}

/** Tasklane imports these where an app has them; esbuild must not look for one that it has not. */
function missingOptionalModules(): string[] {
  return ["@opentelemetry/api"].filter((name) => !canResolve(name, process.cwd()));
}
