import { createLambdaWorker } from "tasklane/lambda";
import { handlers } from "./tasks.ts";

// The same handlers behind an SQS event source, in place of worker.ts.
export const handler = createLambdaWorker({ handlers });
