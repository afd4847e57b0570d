import type { TaskHandler } from "../task/define-task.ts";
import type { Decoded, Envelope } from "../task/envelope.ts";
import { decodeBody, markUnknownSince } from "../task/envelope.ts";
import { SQS_DELAY_MAX_MS, UNKNOWN_TASK_MAX_MS } from "../task/limits.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";
import type { Delivery } from "./claim.ts";
import type { Buried } from "./dead-letter.ts";
import { buryMessage, buryUntaken, sendDeadLetter } from "./dead-letter.ts";
import { redriveTask } from "./redrive.ts";
import type { Services } from "./services.ts";

/** Where a message goes when its batch is done with it. */
export type Disposal =
  | { readonly kind: "acknowledge" }
  /** Left in the queue, to be shown again after so long. */
  | { readonly kind: "release"; readonly visibilityMs: number }
  /** Not touched any more: its receipt may be another worker's affair by now. */
  | { readonly kind: "let-go" };

const ACKNOWLEDGE: Disposal = { kind: "acknowledge" };
const UNKNOWN_DELAY_MS = 45_000;

/** A message sorted by what it holds. */
export type Sorted =
  | {
      readonly kind: "candidate";
      readonly delivery: Delivery;
      readonly envelope: Envelope;
      readonly handler: TaskHandler;
    }
  | { readonly kind: "other"; readonly delivery: Delivery; readonly decoded: Decoded };

/** Reads a message and looks whether this worker knows its task. */
export function sortMessage(
  services: Services,
  handlers: ReadonlyMap<string, TaskHandler>,
  delivery: Delivery,
): Sorted {
  const decoded = decodeBody(delivery.message.body);
  const handler = decoded.kind === "task" ? handlers.get(decoded.task) : undefined;
  const ours = decoded.kind === "task" && decoded.queue === services.backend.topology.queue;
  if (ours && handler !== undefined) return { kind: "candidate", delivery, envelope: decoded, handler };
  return { kind: "other", delivery, decoded };
}

/** Deals with a message that cannot become an attempt here. Nothing is dropped without a record or a copy that lives on. */
export async function disposeOther(services: Services, delivery: Delivery, decoded: Decoded): Promise<Disposal> {
  if (decoded.kind === "undecodable")
    return disposeBuried(await buryMessage(services, delivery, "UNDECODABLE", decoded.reason));
  if (decoded.queue !== services.backend.topology.queue)
    return disposeBuried(
      await buryMessage(services, delivery, "WRONG_QUEUE", `the message names queue "${decoded.queue}"`),
    );
  if (decoded.kind === "dead-letter") {
    // An operator moved the copy of a dead task back to its lane: that is a redrive, once.
    const redriven = await redriveTask(services, decoded.id, { epoch: decoded.epoch });
    if (redriven.kind === "failed") return { kind: "release", visibilityMs: 5_000 };
    if (redriven.kind === "refused")
      services.emit({
        type: "copy-dropped",
        because: "stale-letter",
        taskId: decoded.id,
        task: decoded.task,
        lane: delivery.lane,
      });
    return ACKNOWLEDGE;
  }
  return deferUnknown(services, delivery, decoded);
}

/** What somebody else has moved on meanwhile is looked at once more. */
function disposeBuried(buried: Buried): Disposal {
  return buried === "buried" ? ACKNOWLEDGE : { kind: "release", visibilityMs: 5_000 };
}

/**
 * A task of our own that this worker does not know, or that could never end here, waits for one that can take it: a deploy may be
 * rolling. After a day in which nobody who knows it had it, it dies.
 */
async function deferUnknown(
  services: Services,
  delivery: Delivery,
  decoded: Extract<Decoded, { kind: "task" | "newer" }>,
): Promise<Disposal> {
  const now = services.clock.now();
  const { id, task } = decoded;
  // A mark of a clock that is ahead must not put the end off.
  let since = Math.min(now, decoded.unknownSince ?? now);
  if (now - since >= UNKNOWN_TASK_MAX_MS) {
    const message =
      decoded.kind === "newer"
        ? "no worker has known the version of its message for a day"
        : `no worker could take task "${task}" for a day: none that saw it has a handler, or its timeout is above their function's`;
    const judged = await buryUnknown(services, delivery, id, message, since);
    if (typeof judged === "object") return judged;
    since = judged;
  }
  // What runs elsewhere, or may not run yet, needs no look before that is over.
  const waitMs = Math.min(SQS_DELAY_MAX_MS, Math.max(UNKNOWN_DELAY_MS, since - now));
  const delayMs = Math.round(waitMs * (0.5 + services.random.next() / 2));
  const body = markUnknownSince(delivery.message.body, since);
  const [sent] = await services.backend.queue.send({ lane: delivery.lane }, [{ body, delayMs }]);
  if (sent?.ok !== true) return { kind: "release", visibilityMs: delayMs };
  const reason = decoded.kind === "newer" ? "unknown-version" : "unknown-task";
  services.emit({ type: "deferred", reason, delayMs, taskId: id, task, lane: delivery.lane });
  return ACKNOWLEDGE;
}

/**
 * Ends a task that nobody has taken for a day. Where somebody who knows it ran it meanwhile, or where it may not run yet, the day begins
 * anew: then answers when, in milliseconds since 1970, which may be still to come.
 *
 * @param since when the day began so far
 */
async function buryUnknown(
  services: Services,
  { message: { receiveCount } }: Delivery,
  id: string,
  why: string,
  since: number,
): Promise<Disposal | number> {
  const now = services.clock.now();
  const read = await services.backend.ledger.readMany([id]).catch(() => undefined);
  // The ledger did not answer: it is put back as before, which uses up no receives.
  if (read === undefined) return since;
  const [record] = read;
  if (record === undefined || isGone(record, now)) return ACKNOWLEDGE;
  // Its letter may not have left; a message that comes for the first time is an old copy.
  if (record.state === "dead" && receiveCount > 1)
    return disposeBuried((await sendDeadLetter(services, record).catch(() => false)) ? "buried" : "failed");
  // Somebody who knows it has ended it meanwhile, or it was cancelled.
  if (isFinal(record.state)) return ACKNOWLEDGE;
  // The scheduler sends a far task's message: this copy is not needed.
  if (record.notBefore - now > SQS_DELAY_MAX_MS && record.owedAt !== undefined) return ACKNOWLEDGE;
  // A lease that is over is a crash: whoever would take it over has to know it too.
  const takenAt = Math.max(record.notBefore, record.state === "running" ? (record.leaseUntil ?? 0) : 0);
  if (now - takenAt < UNKNOWN_TASK_MAX_MS) return takenAt;
  // The record may be dead by then and its letter still here, so this very message has to come again.
  return disposeBuried(await buryUntaken(services, record, "UNKNOWN_TASK", why).catch(() => "failed" as const));
}
