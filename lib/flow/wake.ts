import type { EntryOutcome } from "../ports/queue.ts";
import type { Envelope } from "../task/envelope.ts";
import { encodeEnvelope } from "../task/envelope.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import { ENVELOPE_COPY_MAX_BYTES, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import { carrierOf } from "../task/topology.ts";
import { copyForMessage } from "./payload.ts";
import type { Services } from "./services.ts";

/** A wake-up call to send for a task. */
export interface WakeUp {
  readonly lane: Lane;
  readonly body: string;
  /** Time until it may be received; rounded down, since a worker waits for the rest. At most 15 minutes. */
  readonly delayMs: number;
}

/** How long before a far task is due the scheduler sends its message, in milliseconds: several of its runs may fail. */
export const OWED_LEAD_MS = 300_000;

/** Tells whether a task is due too late for an SQS delay, so that the scheduler has to send it. */
export function isFar(notBefore: number, now: number): boolean {
  return notBefore - now > SQS_DELAY_MAX_MS;
}

/** When the scheduler sends the message of a far task. */
export function owedAtOf(notBefore: number): number {
  return notBefore - OWED_LEAD_MS;
}

/** What a message may carry over from the one before it. */
export interface CarriedOver {
  readonly slotUs?: number | undefined;
  readonly deferrals?: number | undefined;
  readonly unknownSince?: number | undefined;
  readonly passedOver?: boolean | undefined;
}

/** What a message says of its task. */
export type WakeSource = Pick<TaskRecord, "id" | "task" | "lane" | "epoch" | "dueAt" | "notBefore" | "traceparent">;

/** Characters kept free in a message for what later put-backs add to it. */
const GROWTH_CHARS = 96;

/**
 * Writes a task's message from its record.
 *
 * @param json the input; its copy goes along while it is free
 */
export function wakeUp(
  services: Services,
  record: WakeSource,
  json: string | undefined,
  carried: CarriedOver = {},
  compress = true,
): WakeUp {
  const delayMs = clampDelay(record.notBefore - services.clock.now());
  const envelope: Envelope = {
    kind: "task",
    queue: services.backend.topology.queue,
    id: record.id,
    task: record.task,
    epoch: record.epoch,
    dueAt: record.dueAt,
    traceparent: record.traceparent,
    notBefore: delayMs > 0 ? record.notBefore : undefined,
    deferrals: carried.deferrals ?? 0,
    passedOver: carried.passedOver ?? false,
    slotUs: carried.slotUs,
    unknownSince: carried.unknownSince,
  };
  const room = ENVELOPE_COPY_MAX_BYTES - encodeEnvelope(envelope).length - GROWTH_CHARS;
  const payload = json === undefined ? undefined : copyForMessage(json, room, compress);
  return { lane: record.lane, body: encodeEnvelope({ ...envelope, payload }), delayMs };
}

/** Writes a message again with something changed, for a put back without a claim. */
export function wakeUpAgain(lane: Lane, envelope: Envelope, delayMs: number, changed: Partial<Envelope>): WakeUp {
  const body = encodeEnvelope({
    ...envelope,
    deferrals: envelope.deferrals + 1,
    // Whoever puts a task back here knows it: the day in which it may be unknown begins anew.
    unknownSince: undefined,
    ...changed,
  });
  return { lane, body, delayMs: clampDelay(delayMs) };
}

function clampDelay(delayMs: number): number {
  return Math.min(SQS_DELAY_MAX_MS, Math.max(0, Math.round(delayMs)));
}

/** Sends wake-up calls, in as few requests as possible, answering in their order. */
export async function sendWakeUps(services: Services, wakeUps: readonly WakeUp[]): Promise<EntryOutcome[]> {
  const { queue, topology } = services.backend;
  const outcomes: EntryOutcome[] = Array.from({ length: wakeUps.length });
  const places = new Map<Lane, number[]>();
  for (const [place, wake] of wakeUps.entries()) {
    const lane = carrierOf(topology, wake.lane);
    const mine = places.get(lane);
    if (mine === undefined) places.set(lane, [place]);
    else mine.push(place);
  }
  const sendLane = async (lane: Lane): Promise<void> => {
    const mine = places.get(lane) ?? [];
    const answers = await queue.send(
      { lane },
      mine.map((place) => wakeUps[place] as WakeUp),
    );
    for (const [at, place] of mine.entries()) outcomes[place] = answers[at] as EntryOutcome;
  };
  await Promise.all(LANES.filter((lane) => places.has(lane)).map(sendLane));
  return outcomes;
}
