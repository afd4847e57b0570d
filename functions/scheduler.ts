import { createLambdaScheduler } from "../lib/lambda/create-lambda-scheduler.ts";

/** Looks after delayed, owed and lost tasks, each minute. The package holds it ready-made. */
export const handler = createLambdaScheduler();
