import type { Json } from "./json.ts";
import { asciiJson, parseUntrustedJson } from "./json.ts";
import { SQS_MESSAGE_MAX_BYTES } from "./limits.ts";
import { NAME_PATTERN } from "./name.ts";
import type { PayloadCodec } from "./payload-ref.ts";

/** The version this code writes. It reads this one; a newer one is deferred, since a deploy may be rolling. */
export const ENVELOPE_VERSION = 1;

/** The body of an SQS message: which task to wake, and what a worker needs before it claims. */
export interface Envelope {
  readonly kind: "task";
  /** The queue that the task belongs to. */
  readonly queue: string;
  readonly id: string;
  readonly task: string;
  readonly epoch: number;
  /** When the task was first due in this epoch: bounds its lifetime. */
  readonly dueAt: number;
  /** A copy of the payload while it is free to carry. Base64 if the codec is `zstd`. */
  readonly payload?: { readonly codec: PayloadCodec; readonly text: string } | undefined;
  /** A slot of the task's rate limit, in microseconds since 1970. */
  readonly slotUs?: number | undefined;
  /** The earliest start, if the message was sent with a delay: a message that comes a little early is waited for. */
  readonly notBefore?: number | undefined;
  /** How often it was put back without a claim. */
  readonly deferrals: number;
  /** Since when no worker has known the task. */
  readonly unknownSince?: number | undefined;
  /** It was passed over as a suspect, and goes first now. */
  readonly passedOver: boolean;
  /** W3C trace context of the producer. */
  readonly traceparent?: string | undefined;
}

/** The body of a dead letter: what an operator needs to see in the queue itself. */
export interface DeadLetter {
  readonly kind: "dead-letter";
  readonly queue: string;
  readonly id: string;
  readonly task: string;
  readonly epoch: number;
  readonly reason: string;
  readonly message: string;
  readonly diedAt: number;
  /** The payload as JSON, while everything fits 64 KB. */
  readonly payload?: string | undefined;
  readonly history?: Json | undefined;
  readonly meta?: Json | undefined;
}

/** What a message body turned out to be. */
export type Decoded =
  | Envelope
  | DeadLetter
  /** Written by a newer version: only what every version keeps. */
  | {
      readonly kind: "newer";
      readonly queue: string;
      readonly id: string;
      readonly task: string;
      readonly unknownSince?: number | undefined;
    }
  | { readonly kind: "undecodable"; readonly reason: string };

/** Writes an envelope as ASCII JSON, whose every character SQS accepts. */
export function encodeEnvelope(envelope: Envelope): string {
  const body: Record<string, Json> = {
    v: ENVELOPE_VERSION,
    q: envelope.queue,
    id: envelope.id,
    t: envelope.task,
    e: envelope.epoch,
    due: envelope.dueAt,
  };
  if (envelope.payload) body[envelope.payload.codec === "zstd" ? "pz" : "p"] = envelope.payload.text;
  if (envelope.notBefore !== undefined) body["n"] = envelope.notBefore;
  if (envelope.slotUs !== undefined) body["slot"] = envelope.slotUs;
  if (envelope.deferrals > 0) body["d"] = envelope.deferrals;
  if (envelope.unknownSince !== undefined) body["u"] = envelope.unknownSince;
  if (envelope.passedOver) body["s"] = 1;
  if (envelope.traceparent !== undefined) body["tp"] = envelope.traceparent;
  return asciiJson(body);
}

/** Writes a dead letter. */
export function encodeDeadLetter(letter: DeadLetter): string {
  const body: Record<string, Json> = {
    v: ENVELOPE_VERSION,
    q: letter.queue,
    id: letter.id,
    t: letter.task,
    e: letter.epoch,
    dead: { reason: letter.reason, message: letter.message, at: letter.diedAt },
  };
  if (letter.payload !== undefined) body["p"] = letter.payload;
  if (letter.history !== undefined) body["history"] = letter.history;
  if (letter.meta !== undefined) body["meta"] = letter.meta;
  return asciiJson(body);
}

/** Adds `unknownSince` to the body of any version, leaving the rest as it is. */
export function markUnknownSince(body: string, at: number): string {
  const parsed = parseUntrustedJson(body, SQS_MESSAGE_MAX_BYTES);
  if (!parsed.ok || !isObject(parsed.value)) return body;
  return asciiJson({ ...parsed.value, u: at });
}

const ID = /^[A-Za-z0-9_-]{16,64}$/;

/** Tells whether a text can be a task id. */
export function isTaskId(value: unknown): value is string {
  return typeof value === "string" && ID.test(value);
}

/**
 * Reads a message body, from whoever wrote it. Size, depth and poisoned keys are looked at before anything is parsed,
 * every field is checked, and nothing that was read can name another bucket or another task's bytes.
 */
export function decodeBody(body: string): Decoded {
  const parsed = parseUntrustedJson(body, SQS_MESSAGE_MAX_BYTES);
  if (!parsed.ok) return undecodable(parsed.reason);
  const value = parsed.value;
  if (!isObject(value)) return undecodable("not an object");
  const { v, q: queue, id, t: task, e: epoch, u } = value;
  if (typeof v !== "number" || !Number.isInteger(v) || v < 1) return undecodable("no envelope version");
  if (!isName(queue)) return undecodable("no queue name");
  if (!isTaskId(id)) return undecodable("no task id");
  if (!isName(task)) return undecodable("no task name");
  const unknownSince = optionalNumber(u);
  if (unknownSince === null) return undecodable("u is not a time");
  if (v > ENVELOPE_VERSION) return { kind: "newer", queue, id, task, unknownSince };
  if (!isCount(epoch, 1)) return undecodable("no epoch");
  if (value["dead"] !== undefined) return readDeadLetter(value, queue, id, task, epoch);
  return readEnvelope(value, { queue, id, task, epoch, unknownSince });
}

function readEnvelope(
  value: { [key: string]: Json },
  head: { queue: string; id: string; task: string; epoch: number; unknownSince: number | undefined },
): Decoded {
  const { due, n, slot, d = 0, s, tp, p, pz } = value;
  const notBefore = optionalNumber(n);
  const slotUs = optionalNumber(slot);
  if (!isCount(due, 0)) return undecodable("no due time");
  if (notBefore === null) return undecodable("n is not a time");
  if (slotUs === null) return undecodable("slot is not a time");
  if (!isCount(d, 0)) return undecodable("d is not a count");
  if (tp !== undefined && typeof tp !== "string") return undecodable("tp is not a text");
  if (p !== undefined && typeof p !== "string") return undecodable("p is not a text");
  if (pz !== undefined && typeof pz !== "string") return undecodable("pz is not a text");
  const payload =
    typeof p === "string"
      ? { codec: "json" as const, text: p }
      : typeof pz === "string"
        ? { codec: "zstd" as const, text: pz }
        : undefined;
  return {
    kind: "task",
    ...head,
    dueAt: due,
    payload,
    notBefore,
    slotUs,
    deferrals: d,
    passedOver: s === 1,
    traceparent: tp,
  };
}

function readDeadLetter(
  value: { [key: string]: Json },
  queue: string,
  id: string,
  task: string,
  epoch: number,
): Decoded {
  const dead = value["dead"];
  if (dead === undefined || !isObject(dead)) return undecodable("dead is not an object");
  const { reason, message, at } = dead;
  if (typeof reason !== "string" || typeof message !== "string" || !isCount(at, 0))
    return undecodable("dead lacks its reason");
  const { p, history, meta } = value;
  const payload = typeof p === "string" ? p : undefined;
  return { kind: "dead-letter", queue, id, task, epoch, reason, message, diedAt: at, payload, history, meta };
}

function undecodable(reason: string): Decoded {
  return { kind: "undecodable", reason };
}

function isObject(value: Json): value is { [key: string]: Json } {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isName(value: Json | undefined): value is string {
  return typeof value === "string" && NAME_PATTERN.test(value);
}

function isCount(value: Json | undefined, least: number): value is number {
  return typeof value === "number" && Number.isSafeInteger(value) && value >= least;
}

function optionalNumber(value: Json | undefined): number | undefined | null {
  if (value === undefined) return undefined;
  return isCount(value, 0) ? value : null;
}
