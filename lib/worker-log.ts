import type { AttemptLogger } from "./flow/attempt-report.ts";
import type { Clock } from "./ports/clock.ts";
import type { EventListener, TasklaneEventType } from "./task/events.ts";

/** Writes JSON lines to standard output, one for each attempt and each line that a handler logs. Never a payload or a result. */
export function jsonLogger(clock: Clock): AttemptLogger {
  return (level, message, fields) => {
    const line = { time: new Date(clock.now()).toISOString(), level, message, ...fields };
    process.stdout.write(`${writeLine(line)}\n`);
  };
}

/** A line that cannot be written says so instead of failing the work. */
function writeLine(line: { readonly message: string }): string {
  try {
    return JSON.stringify(line, (_key, value: unknown) => (typeof value === "bigint" ? String(value) : value));
  } catch (error) {
    return JSON.stringify({ message: line.message, unwritable: String(error) });
  }
}

/** Lets no logger of the app's fail the work that it tells of. */
export function safeLogger(log: AttemptLogger): AttemptLogger {
  return (level, message, fields) => {
    try {
      log(level, message, fields);
    } catch {
      // The logger's own affair.
    }
  };
}

/** Events of the worker itself that belong into its log, with their level; attempts have lines of their own. */
const LOGGED: Partial<Record<TasklaneEventType, "info" | "warn" | "error">> = {
  "worker-started": "info",
  "worker-stopped": "info",
  "poll-failed": "warn",
  "scheduler-failed": "warn",
  "settle-delayed": "warn",
  "history-lost": "warn",
  "counters-failed": "warn",
  "handler-abandoned": "error",
  "internal-error": "error",
};

/** Names of unknown tasks that are told of; more of them are somebody's mischief. */
const UNKNOWN_TOLD_MAX = 100;

/** Lets a worker say what it is doing, so that one which cannot work is not silent; then the caller's own listener is told. */
export function logEvents(
  log: AttemptLogger,
  handlers: ReadonlyMap<string, unknown>,
  onEvent: EventListener | undefined,
): EventListener {
  const told = new Set<string>();
  return (event) => {
    // Once for each name: a typo would otherwise wait in silence, and a rolling deploy must not flood the log. Why a task that has a
    // handler is put off, whoever does so says.
    if (
      event.type === "deferred" &&
      event.reason === "unknown-task" &&
      !handlers.has(event.task) &&
      told.size < UNKNOWN_TOLD_MAX &&
      !told.has(event.task)
    ) {
      told.add(event.task);
      log("warn", "unknown task", { task: event.task, taskId: event.taskId, handlers: [...handlers.keys()] });
    }
    const level = LOGGED[event.type];
    if (level !== undefined) {
      const { type, at: _at, ...fields } = event;
      log(level, type.replaceAll("-", " "), JSON.parse(JSON.stringify(fields)));
    }
    // Handed on, so that whoever emits sees a promise that may reject.
    return onEvent?.(event);
  };
}
