import { createScheduler } from "../lib/scheduler.ts";
import type { LambdaContext } from "../lib/lambda/lambda-event.ts";

/** What is kept at the end of an invocation, in milliseconds, for the last write of the run. */
const RESERVE_MS = 5_000;

const scheduler = createScheduler();

/** Looks after delayed, owed and lost tasks, each minute. It stops before its deadline, and the next minute's run goes on. */
export async function handler(_event: unknown, context: LambdaContext): Promise<void> {
  const until = Date.now() + Math.max(0, context.getRemainingTimeInMillis() - RESERVE_MS);
  const report = await scheduler.run({ until });
  console.log(JSON.stringify({ time: new Date().toISOString(), level: "info", message: "scheduler ran", ...report }));
}
