import type { LambdaWorker } from "../../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../../lib/lambda/index.ts";
import { flowHandlers } from "../../support/flow-tasks.ts";

/** A worker whose tasks go every way that a task can go. */
export const handler: LambdaWorker = createLambdaWorker({
  handlers: flowHandlers(new Map()),
  lease: "5s",
  clockSkew: "1s",
});
