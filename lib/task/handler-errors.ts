import type { Duration } from "./duration.ts";
import { parseDuration } from "./duration.ts";
import { TasklaneError } from "./errors.ts";

/** Throw it when trying again is of no use: the task dies at once with this reason. */
export class TerminalError extends TasklaneError {
  readonly reason: string;
  constructor(reason: string, options?: { cause?: unknown }) {
    super("TERMINAL", { what: reason, cause: options?.cause });
    this.reason = reason;
  }
}

/** Throw it to have the failed attempt tried again after a time of your choice; counts as a failure. */
export class RetryAfterError extends TasklaneError {
  readonly delayMs: number;
  constructor(delay: Duration, reason = "the handler asked for a retry", options?: { cause?: unknown }) {
    super("RETRY_AFTER", { what: `${reason} (after ${delay})`, cause: options?.cause });
    this.delayMs = parseDuration(delay, "delay of RetryAfterError");
  }
}

/** Throw it to run the task later without counting a failure, for work that is not ready yet. */
export class SnoozeError extends TasklaneError {
  readonly delayMs: number;
  constructor(delay: Duration, reason = "the handler asked to run later") {
    super("SNOOZE", { what: `${reason} (after ${delay})` });
    this.delayMs = parseDuration(delay, "delay of SnoozeError");
  }
}

/** Throw it to end the task as cancelled: neither succeeded nor dead, and nobody is alarmed. */
export class CancelError extends TasklaneError {
  readonly reason: string;
  constructor(reason: string) {
    super("CANCELLED", { what: reason });
    this.reason = reason;
  }
}
