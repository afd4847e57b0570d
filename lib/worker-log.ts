import type { AttemptLogger } from "./flow/attempt-report.ts";
import type { Clock } from "./ports/clock.ts";

/** Writes JSON lines to standard output, one for each attempt and each line that a handler logs. Never a payload or a result. */
export function jsonLogger(clock: Clock): AttemptLogger {
  return (level, message, fields) => {
    const line = { time: new Date(clock.now()).toISOString(), level, message, ...fields };
    process.stdout.write(`${JSON.stringify(line)}\n`);
  };
}
