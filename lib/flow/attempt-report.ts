import type { TaskLog } from "../task/context.ts";
import type { Json } from "../task/json.ts";
import type { TaskRecord } from "../task/record.ts";
import type { RunResult } from "./run.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import type { Settlement } from "./settle.ts";

/** One line of an attempt's own log. */
export type AttemptLogger = (
  level: "debug" | "info" | "warn" | "error",
  message: string,
  fields: Readonly<Record<string, Json>>,
) => void;

/** Tells of an attempt's end, as events and as its one log line. `lost`: another worker had taken over, nothing was written. */
export function reportAttempt(
  host: { readonly services: Services; readonly log: AttemptLogger },
  record: TaskRecord,
  result: RunResult,
  settlement: Settlement,
  runMs: number,
  lost: boolean,
): void {
  const { services, log } = host;
  const { failure } = settlement;
  const kind =
    settlement.state === "dead" ? "dead" : settlement.state === "cancelled" ? "cancelled" : result.outcome.kind;
  const outcome = lost ? "lost" : kind;
  const retryInMs = lost ? undefined : settlement.delayMs;
  services.emit({
    type: "attempt-ended",
    attempt: record.attempts,
    outcome,
    runMs,
    code: failure?.code,
    error: failure?.message,
    retryInMs,
    ...markOf(record),
  });
  if (outcome === "dead" && settlement.patch.set.reason !== undefined)
    services.emit({
      type: "dead",
      reason: settlement.patch.set.reason,
      message: failure?.message ?? "",
      ...markOf(record),
    });
  const level =
    outcome === "dead" || outcome === "lost"
      ? "error"
      : failure === undefined || outcome === "deferred"
        ? "info"
        : "warn";
  log(level, "attempt ended", {
    ...logMark(record),
    outcome,
    runMs: Math.round(runMs),
    ...(failure === undefined ? {} : { code: failure.code, error: failure.message }),
    ...(retryInMs === undefined ? {} : { retryInMs: Math.round(retryInMs) }),
  });
}

/** The log that a handler writes to: each line names its task and attempt. */
export function taskLog(log: AttemptLogger, record: TaskRecord): TaskLog {
  const mark = logMark(record);
  const write =
    (level: Parameters<AttemptLogger>[0]) =>
    (message: string, fields: Readonly<Record<string, Json>> = {}): void =>
      log(level, message, { ...mark, ...fields });
  return { debug: write("debug"), info: write("info"), warn: write("warn"), error: write("error") };
}

function logMark(record: TaskRecord): Record<string, Json> {
  const { id, task, lane, attempts, epoch } = record;
  return { taskId: id, task, lane, attempt: attempts, epoch };
}
