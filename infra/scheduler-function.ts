import { createRequire } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { AssetHashType, DockerImage, Duration } from "aws-cdk-lib";
import { Rule, Schedule } from "aws-cdk-lib/aws-events";
import { LambdaFunction as FunctionTarget } from "aws-cdk-lib/aws-events-targets";
import { Architecture, Code, Function as LambdaFunction, RecursiveLoop, Runtime } from "aws-cdk-lib/aws-lambda";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";
import type * as Esbuild from "esbuild";
import { bundleScheduler } from "./bundle-scheduler.ts";
import { makeFunctionRole, makeLogGroup } from "./function-role.ts";

/** It stops itself before this and goes on in the next minute. */
const TIMEOUT_SECONDS = 60;
const MEMORY_MB = 256;

/** Makes the function that sends what is owed, and the rule that starts it each minute. */
export function makeSchedulerFunction(scope: Construct, logRetention: RetentionDays): LambdaFunction {
  const role = makeFunctionRole(scope, "SchedulerRole");
  const scheduler = new LambdaFunction(scope, "Scheduler", {
    description: "Tasklane: sends tasks that are due, each minute.",
    runtime: Runtime.NODEJS_24_X,
    architecture: Architecture.ARM_64,
    code: schedulerCode(),
    handler: "index.handler",
    timeout: Duration.seconds(TIMEOUT_SECONDS),
    memorySize: MEMORY_MB,
    logGroup: makeLogGroup(scope, "SchedulerLogs", logRetention, role),
    role,
    // It sends messages, as workers do.
    recursiveLoop: RecursiveLoop.ALLOW,
    // A run that failed is made up for by the next one, so nothing waits to be tried again.
    retryAttempts: 0,
    maxEventAge: Duration.minutes(1),
  });
  new Rule(scope, "EachMinute", {
    schedule: Schedule.rate(Duration.minutes(1)),
    targets: [new FunctionTarget(scheduler, { retryAttempts: 0, maxEventAge: Duration.minutes(1) })],
  });
  return scheduler;
}

/** The published package holds the function ready-made; a checkout of the repository bundles it from its source. */
function schedulerCode(): Code {
  if (import.meta.url.endsWith(".js"))
    return Code.fromAsset(fileURLToPath(new URL("../functions/scheduler/", import.meta.url)));
  const functions = fileURLToPath(new URL("../functions/", import.meta.url));
  return Code.fromAsset(functions, {
    assetHashType: AssetHashType.OUTPUT,
    bundling: {
      image: DockerImage.fromRegistry("none"),
      local: {
        tryBundle: (folder) => {
          const esbuild: typeof Esbuild = createRequire(import.meta.url)("esbuild");
          bundleScheduler(esbuild, join(functions, "scheduler.ts"), join(folder, "index.mjs"));
          return true;
        },
      },
    },
  });
}
