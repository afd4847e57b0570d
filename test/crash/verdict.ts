import type { TaskDetails } from "../../lib/index.ts";
import type { Effect, Report } from "./journal.ts";

/** Starts of a task's handler, in the order in which they were written. */
export function startsOf(effects: readonly Effect[], taskId: string): Effect[] {
  return effects.filter((effect) => effect.kind === "start" && effect.taskId === taskId);
}

/** Starts whose attempt has not ended, as the effects tell, in processes of which some are gone. */
export function openStarts(effects: readonly Effect[], pids: readonly number[]): Effect[] {
  const ended = new Set(effects.filter(({ kind }) => kind === "end").map(markOf));
  return effects.filter((effect) => effect.kind === "start" && pids.includes(effect.pid) && !ended.has(markOf(effect)));
}

/** Commits that a worker reported: attempts that ended as succeeded and were not refused. */
export function commitsOf(reports: readonly Report[], taskId: string): Report[] {
  return reports.filter(
    (report) => report.type === "attempt-ended" && report.taskId === taskId && report.outcome === "succeeded",
  );
}

/** Attempts that another worker had taken over, so that nothing of theirs was written. */
export function refusalsOf(reports: readonly Report[], taskId: string): Report[] {
  return reports.filter(
    (report) => report.type === "attempt-ended" && report.taskId === taskId && report.outcome === "lost",
  );
}

/**
 * Starts of a handler while an earlier one of the same task was still running, in a process that had no excuse: it was neither
 * killed nor paused, and its event loop did not stand still.
 */
export function overlaps(effects: readonly Effect[], excused: (pid: number) => boolean): Effect[] {
  const running = new Map<string, Effect>();
  const found: Effect[] = [];
  for (const effect of effects) {
    if (effect.kind === "end") running.delete(markOf(effect));
    if (effect.kind !== "start") continue;
    for (const other of running.values()) if (other.taskId === effect.taskId && !excused(other.pid)) found.push(effect);
    running.set(markOf(effect), effect);
  }
  return found;
}

/** Starts that the ledger accounts for: the first, and one more after each end that was no final state. */
export function accountedAttempts(task: TaskDetails): number {
  return 1 + task.failures + task.crashes + task.snoozes + task.interruptions;
}

function markOf({ taskId, fence, pid }: Effect): string {
  return `${taskId} ${fence} ${pid}`;
}
