import type { SlotDecision } from "../../control/rate-limit.ts";
import { slotAt } from "../../control/rate-limit.ts";
import type { RateLimit } from "../../task/define-rate-limit.ts";
import { EARLY_WAIT_MAX_MS, SQS_DELAY_MAX_MS } from "../../task/limits.ts";
import type { SqsAttribute, SqsRecord } from "./batch.ts";

/** The message attribute that carries a slot, and the limit that gave it. */
const SLOT_ATTRIBUTE = "tasklane-slot";
/** SQS's most attributes of one message. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-messages.html */
const ATTRIBUTES_MAX = 10;
/**
 * How long before its slot a copy is to come back, at least. SQS rounds delays down to whole seconds, so it is up to a second
 * more: together never above what is waited for.
 */
const SLOT_LEAD_MS = EARLY_WAIT_MAX_MS - 1_000;

/** The stretch of time in which a record may start. */
export type SlotWindow = Extract<SlotDecision, { kind: "slot" }>;

/** A record with its slot. */
export interface Slotted {
  readonly record: SqsRecord;
  readonly window: SlotWindow;
}

/**
 * The slot that a copy brings with it, while it is good. It is good for one start: a message that was received before may have
 * started by it already.
 */
export function heldSlot(limit: RateLimit, record: SqsRecord, now: number): SlotWindow | undefined {
  const [slotUs, name] = record.messageAttributes[SLOT_ATTRIBUTE]?.stringValue?.split("@") ?? [];
  if (name !== limit.name || record.attributes.ApproximateReceiveCount !== "1") return undefined;
  if (slotUs === undefined || !/^\d{1,16}$/.test(slotUs)) return undefined;
  const window = slotAt(limit, Number(slotUs));
  return now < window.endMs ? window : undefined;
}

/** The attributes of a copy: the original's own, and the slot if there is one and room for it. */
export function copyAttributes(
  record: SqsRecord,
  limit: RateLimit,
  window: SlotWindow | undefined,
): Record<string, SqsAttribute> {
  const { [SLOT_ATTRIBUTE]: _used, ...attributes } = record.messageAttributes;
  if (window === undefined || Object.keys(attributes).length >= ATTRIBUTES_MAX) return attributes;
  return { ...attributes, [SLOT_ATTRIBUTE]: { dataType: "String", stringValue: `${window.slotUs}@${limit.name}` } };
}

/** How long a copy stays out of sight until its slot. */
export function delayUntil(window: SlotWindow, now: number): number {
  return Math.max(0, window.startMs - now - SLOT_LEAD_MS);
}

/** How long a copy without a slot stays out of sight: spread, so that a crowd does not come back at once. */
export function delayWithoutSlot(nextMs: number, now: number, chance: number): number {
  const spanMs = Math.min(SQS_DELAY_MAX_MS, Math.max(10_000, 2 * (nextMs - now)));
  return spanMs * (0.25 + 0.75 * chance);
}

/**
 * Chooses the time at which the handler starts, and the records that start then. They start together, so it is a time at which
 * all their slots are good; a record whose slot is only good later is left out.
 */
export function chooseStart(
  slotted: readonly Slotted[],
  now: number,
  waitMaxMs: number,
): { readonly startMs: number; readonly starting: readonly Slotted[]; readonly waiting: readonly Slotted[] } {
  let startMs = now;
  let endMs = Number.POSITIVE_INFINITY;
  const starting: Slotted[] = [];
  const waiting: Slotted[] = [];
  for (const one of [...slotted].sort((left, right) => left.window.slotUs - right.window.slotUs)) {
    const { window } = one;
    const isSoon = window.startMs <= now + waitMaxMs;
    const fits = Math.max(startMs, window.startMs) < Math.min(endMs, window.endMs);
    if (!isSoon || !fits) {
      waiting.push(one);
      continue;
    }
    startMs = Math.max(startMs, window.startMs);
    endMs = Math.min(endMs, window.endMs);
    starting.push(one);
  }
  return { startMs, starting, waiting };
}
