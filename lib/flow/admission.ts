import type { SlotDecision } from "../control/rate-limit.ts";
import { RateLimiter, slotAt } from "../control/rate-limit.ts";
import type { TaskHandler } from "../task/define-task.ts";
import type { RateLimit } from "../task/define-rate-limit.ts";
import type { Envelope } from "../task/envelope.ts";
import { parseUntrustedJson } from "../task/json.ts";
import { EARLY_WAIT_MAX_MS, PAYLOAD_MAX_BYTES, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import { hashText, loadInput } from "./payload.ts";
import type { Services } from "./services.ts";

/** The stretch of time in which a start is within its rate limit. */
export type StartWindow = Extract<SlotDecision, { kind: "slot" }>;

/** Whether a candidate may be claimed now. */
export type Admission =
  /** Claim it at `claimMs`, and start it within the window if there is one. */
  | { readonly kind: "start"; readonly claimMs: number; readonly window: StartWindow | undefined }
  | {
      readonly kind: "put-back";
      readonly delayMs: number;
      readonly reason: "early" | "rate-limit";
      readonly changed: Partial<Envelope>;
    };

/**
 * How long before a slot its message is to come back, at least. SQS rounds delays down to whole seconds, so it is up to a
 * second more: together never above what a worker waits for, and the delay never rounds down to none.
 */
const SLOT_LEAD_MS = EARLY_WAIT_MAX_MS - 1_000;

/** Claims so long before a slot, in milliseconds, so that the start itself can be on time. */
const CLAIM_LEAD_MS = 500;

interface Wanted {
  readonly handler: TaskHandler;
  readonly envelope: Envelope;
}

/**
 * Decides for a whole batch what may start now: nothing before its time, and no more than its rate limits allow. One write
 * reserves the slots of all tasks that share a bucket. A throttled task is put back without a write to the ledger, with its
 * slot in the message, so that it is received at most twice.
 */
export class Admissions {
  readonly #services: Services;
  readonly #limiter: RateLimiter;

  constructor(services: Services) {
    this.#services = services;
    this.#limiter = new RateLimiter(services.backend.ledger, services.clock, services.random);
  }

  /** Answers in the order of the candidates. @throws TasklaneError if the ledger does not answer */
  async admit(candidates: readonly Wanted[]): Promise<Admission[]> {
    const now = this.#services.clock.now();
    const admissions: Admission[] = candidates.map(({ envelope }) => admitTime(envelope, now));
    const buckets = new Map<string, { limit: RateLimit; key: string; places: number[]; fromMs: number }>();
    for (const [place, candidate] of candidates.entries()) {
      const limit = candidate.handler.definition.rateLimit;
      const timely = admissions[place];
      if (limit === undefined || timely?.kind !== "start") continue;
      // Its lifetime is over: it is claimed to be ended, and never started.
      if (now > candidate.envelope.dueAt + candidate.handler.definition.maxLifetimeMs) continue;
      const held = heldSlot(limit, candidate.envelope, now, timely.claimMs);
      if (held !== undefined) {
        admissions[place] = held;
        continue;
      }
      const key = await this.#keyOf(candidate);
      const bucket = buckets.get(`${limit.name}#${key}`) ?? { limit, key, places: [], fromMs: 0 };
      bucket.places.push(place);
      bucket.fromMs = Math.max(bucket.fromMs, timely.claimMs);
      buckets.set(`${limit.name}#${key}`, bucket);
    }
    for (const { limit, key, places, fromMs } of buckets.values()) {
      const decisions = await this.#limiter.reserve(limit, key, places.length, fromMs);
      for (const [at, decision] of decisions.entries()) {
        const place = places[at];
        const timely = place === undefined ? undefined : admissions[place];
        if (place !== undefined && timely?.kind === "start")
          admissions[place] = this.#apply(decision, this.#services.clock.now(), timely.claimMs);
      }
    }
    return admissions;
  }

  #apply(decision: SlotDecision, now: number, earliestMs: number): Admission {
    if (decision.kind === "slot") return withSlot(decision, now, earliestMs);
    // Spread over the time in which the bucket may have slots again, so that a crowd does not come back at once.
    const spanMs = Math.min(SQS_DELAY_MAX_MS, Math.max(10_000, 2 * (decision.nextMs - now)));
    const delayMs = spanMs * (0.25 + 0.75 * this.#services.random.next());
    return { kind: "put-back", delayMs, reason: "rate-limit", changed: { slotUs: undefined } };
  }

  /** The key of a bucket comes from the raw input, as the producer gave it. It is hashed: keys may hold personal data. */
  async #keyOf({ handler, envelope }: Wanted): Promise<string> {
    const { definition } = handler;
    if (definition.rateLimitKey === undefined) return "";
    const json = envelope.payload?.codec === "json" ? envelope.payload.text : await this.#readInput(envelope.id);
    const parsed = json === undefined ? undefined : parseUntrustedJson(json, PAYLOAD_MAX_BYTES);
    if (parsed?.ok !== true) return "";
    try {
      return hashText(String(definition.rateLimitKey(parsed.value))).slice(0, 22);
    } catch {
      // An input that the key function cannot read shares the bucket of those without a key.
      return "";
    }
  }

  async #readInput(id: string): Promise<string | undefined> {
    const [record] = await this.#services.backend.ledger.readMany([id], { eventually: true });
    if (record === undefined) return undefined;
    return loadInput(this.#services, id, record.input).catch(() => undefined);
  }
}

function admitTime(envelope: Envelope, now: number): Admission {
  const earlyMs = (envelope.notBefore ?? 0) - now;
  if (earlyMs <= EARLY_WAIT_MAX_MS) return { kind: "start", claimMs: now + Math.max(0, earlyMs), window: undefined };
  return { kind: "put-back", delayMs: earlyMs, reason: "early", changed: {} };
}

/** A slot that came with the message, while it is good. */
function heldSlot(limit: RateLimit, envelope: Envelope, now: number, earliestMs: number): Admission | undefined {
  if (envelope.slotUs === undefined) return undefined;
  const window = slotAt(limit, envelope.slotUs);
  return earliestMs < window.endMs ? withSlot(window, now, earliestMs) : undefined;
}

function withSlot(window: StartWindow, now: number, earliestMs: number): Admission {
  const waitMs = window.startMs - now;
  // The claim comes before the slot, but never before the task's own time.
  if (waitMs <= EARLY_WAIT_MAX_MS)
    return { kind: "start", claimMs: Math.max(earliestMs, window.startMs - CLAIM_LEAD_MS), window };
  const delayMs = Math.max(0, waitMs - SLOT_LEAD_MS);
  return { kind: "put-back", delayMs, reason: "rate-limit", changed: { slotUs: window.slotUs } };
}
