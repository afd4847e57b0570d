import { artifactBucket } from "../examples/shop/cloud/artifact-bucket.ts";
import { cloudHandlers } from "../examples/shop/cloud/handlers.ts";
import type { LambdaWorker } from "../lib/lambda/index.ts";
import { createLambdaWorker } from "../lib/lambda/index.ts";

/** The shop's worker, behind each lane's queue. */
export const handler: LambdaWorker = createLambdaWorker({
  handlers: cloudHandlers(artifactBucket(process.env["ARTIFACTS_BUCKET"] ?? "")),
});
