import type { LambdaWorker } from "../../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../../lib/lambda/index.ts";
import { handlers } from "./trial-tasks.ts";

/** The worker of the trial stack. */
export const handler: LambdaWorker = createLambdaWorker({ handlers, lease: "5s", clockSkew: "1s" });
