import type { RunRecord } from "./run-record.ts";

/** How a start of a handler ended: every start is one of the three. */
export type StartEnd = "committed" | "failed" | "crashed";

/**
 * Tells how each start of one task ended.
 * Crashed is a start of which no end was told, or whose worker stalled until another one had taken the task over.
 */
export function startEnds({ starts, events, ledger }: RunRecord, task: string): StartEnd[] {
  const told = new Map<string, string>();
  for (const event of events) {
    if (event.type === "attempt-ended") told.set(`${event.taskId} ${event.attempt}`, event.outcome);
  }
  return starts
    .filter((start) => start.task === task)
    .map(({ taskId, attempt }) => {
      const record = ledger.get(taskId);
      // The ledger comes first: a worker that is killed right after its commit can no longer tell.
      if (record?.state === "succeeded" && record.attempts === attempt) return "committed";
      const outcome = told.get(`${taskId} ${attempt}`) ?? "lost";
      return outcome === "lost" ? "crashed" : "failed";
    });
}
