import { clockOf, resolveTopology } from "../connect.ts";
import { within } from "../ports/clock.ts";
import { TasklaneError } from "../task/errors.ts";
import type { RecoverReport } from "../flow/recover.ts";
import type { AttemptLogger } from "../flow/attempt-report.ts";
import { gaugeMetrics } from "../flow/gauges.ts";
import type { SchedulerOptions } from "../scheduler.ts";
import { createScheduler } from "../scheduler.ts";
import { jsonLogger, logEvents, safeLogger } from "../worker-log.ts";
import { Deadline } from "./deadline.ts";
import { gaugeLine, TaskMetrics } from "./emf.ts";
import type { LambdaContext } from "./lambda-event.ts";

/** The very end of an invocation, for the answer to leave. */
const ANSWER_MS = 200;
const OVERDUE = {
  what: "The scheduler's run did not end before its function",
  expected: "a store that answers within seconds",
  fix: "look at why the table or the queues answer slowly; the next minute's run goes on",
};

/** How a scheduler function behaves. */
export interface LambdaSchedulerOptions extends SchedulerOptions {
  /** Takes log lines. Default: JSON lines on standard output. */
  log?: AttemptLogger | undefined;
  /** Takes lines in CloudWatch's embedded metric format. Default: standard output, from where CloudWatch reads them. */
  writeMetrics?: ((line: string) => void) | undefined;
}

/**
 * Makes a function that looks after delayed, owed and lost tasks when it is called each minute. It stops before its deadline, and the
 * next minute's run goes on where it stopped. It writes the gauges of `docs/observability.md`, the metrics of tasks that it found dead,
 * and one log line.
 *
 * The construct of `tasklane/cdk` deploys it by itself. It rejects where a run fails, so that Lambda counts an error.
 *
 * @throws TasklaneError `OPTION_INVALID`
 */
export function createLambdaScheduler(
  options: LambdaSchedulerOptions = {},
): (event: unknown, context?: LambdaContext) => Promise<void> {
  const clock = clockOf(options);
  const {
    log: given = jsonLogger(clock),
    writeMetrics = (line): void => void process.stdout.write(`${line}\n`),
    onEvent,
    ...rest
  } = options;
  const log = safeLogger(given);
  const tell = logEvents(log, new Map(), onEvent);
  let metrics: TaskMetrics | undefined;
  let queue: string | undefined;
  const scheduler = createScheduler({
    ...rest,
    onEvent: (event) => {
      metrics?.add(event);
      // The event comes even where a step of the run failed, which the report does not.
      if (event.type === "scheduler-ran" && event.gauges !== undefined && queue !== undefined)
        writeMetrics(gaugeLine(event.at, queue, gaugeMetrics(event.gauges)));
      return tell(event);
    },
  });
  /** A run that hangs before it has begun its work, or after it, must not cost the metrics of what it did. */
  const runWithin = (deadline: Deadline): Promise<RecoverReport> => {
    if (!deadline.isSet) return scheduler.run();
    const { workMs, leftMs, reserveMs } = deadline;
    const run = scheduler.run({ until: clock.now() + workMs, graceMs: reserveMs / 2 });
    return within(clock, run, leftMs - ANSWER_MS, () => new TasklaneError("BACKEND_UNAVAILABLE", OVERDUE));
  };
  return async (_event, context) => {
    const deadline = new Deadline(clock, context);
    queue ??= (options.backend?.topology ?? (await resolveTopology(options.topology, options.queue))).queue;
    metrics ??= new TaskMetrics(queue);
    try {
      const { skipped, owed, resent, visited, buried } = await runWithin(deadline);
      log("info", "scheduler ran", { skipped, owed, resent, visited, buried });
    } finally {
      for (const line of metrics.take(clock.now())) writeMetrics(line);
    }
  };
}
