import { clockOf } from "../../connect.ts";
import type { Timer } from "../../ports/clock.ts";
import type { Duration } from "../../task/duration.ts";
import { parseDuration } from "../../task/duration.ts";
import { TasklaneError } from "../../task/errors.ts";
import { DEFAULT_LEASE, SQS_VISIBILITY_MAX_MS } from "../../task/limits.ts";
import { jsonLogger } from "../../worker-log.ts";
import type { MiddlewareOptions } from "./batch.ts";
import type { SqsMiddleware } from "./chain.ts";
import { sqsMiddleware } from "./chain.ts";
import { lazyQueue } from "./connect.ts";
import { checkMiddlewareOptions, checkQueueUrl } from "./options.ts";

/** The first tick comes after so long, or after a third of the visibility if that is shorter. */
const FIRST_TICK_MAX_MS = 5_000;
const VISIBILITY_MIN_MS = 3_000;
/** Lambda deletes what succeeded a moment after the function returned: so long a message stays hidden past the invocation. */
const DELETE_GRACE_MS = 5_000;

/** How messages are kept out of sight. */
export interface VisibilityHeartbeatOptions extends Omit<MiddlewareOptions, "onFailure"> {
  /**
   * How long each tick hides the messages. Default `"30s"`. Shorter: messages of a function that crashed come again sooner, for
   * more requests. At most the queue's own visibility timeout, which counts until the first tick.
   */
  readonly visibility?: Duration | undefined;
  /** Default: the queue that the event names. */
  readonly queueUrl?: string | undefined;
}

/**
 * Keeps the messages of the batch out of sight while the handler runs, so that a long handler is not run twice and a crashed
 * one is run again soon. Needs `sqs:ChangeMessageVisibility`.
 *
 * One request extends ten messages: first after min(5 s, a third of the visibility), then every third, until the handler
 * returns; never past the end of the invocation. A tick that fails is repeated four times as fast, and fails no message.
 *
 * @throws TasklaneError `OPTION_INVALID`, `DURATION_INVALID`
 */
export function visibilityHeartbeat(options: VisibilityHeartbeatOptions = {}): SqsMiddleware {
  checkMiddlewareOptions("visibilityHeartbeat", options, ["visibility", "queueUrl"]);
  checkQueueUrl(options.queueUrl, "visibilityHeartbeat");
  const visibilityMs = parseDuration(options.visibility ?? DEFAULT_LEASE, "visibility of visibilityHeartbeat");
  if (visibilityMs < VISIBILITY_MIN_MS || visibilityMs > SQS_VISIBILITY_MAX_MS)
    throw new TasklaneError("OPTION_INVALID", {
      what: "The visibility of visibilityHeartbeat is out of range",
      received: options.visibility,
      expected: 'from "3s" to "12h"',
    });
  const clock = clockOf(options);
  const log = jsonLogger(clock);
  const queueOf = lazyQueue(options);

  return sqsMiddleware({
    name: "visibilityHeartbeat",
    async before(batch, remainingMs = Number.POSITIVE_INFINITY) {
      const [first] = batch.records;
      if (first === undefined) return;
      const deadline = clock.monotonic() + remainingMs;
      const queue = await queueOf(first);
      let timer: Timer | undefined;
      let isOver = false;
      const schedule = (ms: number): void => {
        timer?.cancel();
        if (isOver || clock.monotonic() + ms >= deadline) return;
        timer = clock.timer(ms, () => void tick().catch(() => undefined));
      };
      const tick = async (): Promise<void> => {
        const leftMs = deadline - clock.monotonic();
        // An environment that was frozen wakes up in another invocation: its messages are no longer ours.
        if (isOver || leftMs <= 0) return;
        schedule(visibilityMs / 3);
        const kept = batch.records.filter(({ messageId }) => !batch.gone.has(messageId));
        const hiddenMs = Math.min(visibilityMs, leftMs + DELETE_GRACE_MS);
        const outcomes = await queue.extend(kept, Math.ceil(hiddenMs / 1_000));
        // A receipt that SQS refuses is over, by the handler's own doing; anything else passes, or somebody must look.
        const failed = outcomes.find((outcome) => !outcome.ok && outcome.error.code !== "OPTION_INVALID");
        if (failed?.ok !== false || isOver) return;
        log("warn", "heartbeat failed", { code: failed.error.code, error: failed.error.message });
        schedule(visibilityMs / 12);
      };
      schedule(Math.min(FIRST_TICK_MAX_MS, visibilityMs / 3));
      return () => {
        isOver = true;
        timer?.cancel();
      };
    },
  });
}
