// Puts the scheduler function into the package ready-made, so that a user's CDK app deploys it without building anything.
import * as esbuild from "esbuild";
import { bundleScheduler } from "../infra/bundle-scheduler.ts";

bundleScheduler(esbuild, "functions/scheduler.ts", "dist/functions/scheduler/index.mjs");
