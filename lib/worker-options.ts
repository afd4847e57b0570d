import type { LeaseTimes } from "./flow/heartbeat.ts";
import type { TaskHandler } from "./task/define-task.ts";
import type { Duration } from "./task/duration.ts";
import { parseDuration } from "./task/duration.ts";
import { TasklaneError } from "./task/errors.ts";
import { CLOCK_SKEW_MAX_MS, DEFAULT_CONCURRENCY, DEFAULT_LEASE } from "./task/limits.ts";

/** The options that every host of handlers has. */
export interface HostTimes {
  /** How long a task stays this worker's without renewal. Default `"30s"`: shorter finds a crash sooner and renews more often. */
  lease?: Duration | undefined;
  /** How far the clocks of hosts may differ before a lease counts as over. Default `"5s"`; a crash goes unnoticed for lease plus this. */
  clockSkew?: Duration | undefined;
}

/** Settles a host's lease and skew, in milliseconds. @throws TasklaneError `OPTION_INVALID`, `DURATION_INVALID` */
export function settleTimes(options: HostTimes): LeaseTimes {
  return {
    leaseMs: checkLease(parseDuration(options.lease ?? DEFAULT_LEASE, "lease of the worker")),
    skewMs: parseDuration(options.clockSkew ?? `${CLOCK_SKEW_MAX_MS}ms`, "clockSkew of the worker"),
  };
}

/** Settles how many handlers may run at once. @throws TasklaneError `OPTION_INVALID` */
export function settleConcurrency(concurrency: number = DEFAULT_CONCURRENCY): number {
  if (Number.isInteger(concurrency) && concurrency >= 1 && concurrency <= 10_000) return concurrency;
  return refuseOption("The concurrency of the worker lets nothing run", concurrency, "a whole number from 1 to 10,000");
}

/** Finds handlers by the name of their task. @throws TasklaneError `HANDLER_DUPLICATE`, `OPTION_INVALID` */
export function indexHandlers(handlers: readonly TaskHandler[], mayBeNone = false): ReadonlyMap<string, TaskHandler> {
  const index = new Map<string, TaskHandler>();
  if (!Array.isArray(handlers) || (handlers.length === 0 && !mayBeNone))
    refuseOption("The worker was given no handlers", handlers, "handlers: [sendReceipt.handle(async (input) => …), …]");
  for (const handler of handlers) {
    if (typeof handler?.run !== "function")
      refuseOption("The worker was given something that is no handler", handler, "what sendReceipt.handle(…) returns");
    const { name } = handler.definition;
    if (index.has(name))
      throw new TasklaneError("HANDLER_DUPLICATE", {
        what: `Two handlers serve the task "${name}"`,
        fix: "pass one of them, or rename one task",
      });
    index.set(name, handler);
  }
  return index;
}

/** SQS hides a message for 12 hours at most; an hour is more than anybody wants to wait for a crash to be seen. */
function checkLease(leaseMs: number): number {
  if (leaseMs >= 1_000 && leaseMs <= 3_600_000) return leaseMs;
  return refuseOption(
    "The lease of the worker cannot be kept",
    `${leaseMs} ms`,
    "from 1s to 1h; a long task's lease is renewed",
  );
}

/** @throws TasklaneError `OPTION_INVALID` */
export function refuseOption(what: string, received: unknown, expected: string): never {
  throw new TasklaneError("OPTION_INVALID", { what, received, expected });
}
