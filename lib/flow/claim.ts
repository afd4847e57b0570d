import type { Claim, Ledger, WriteOutcome } from "../ports/ledger.ts";
import type { ReceivedMessage } from "../ports/queue.ts";
import type { Envelope } from "../task/envelope.ts";
import type { TasklaneError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";

/** A message that a worker holds. */
export interface Delivery {
  /** The lane whose queue it came from. */
  readonly lane: Lane;
  readonly message: ReceivedMessage;
}

/** A message of a task that this worker knows, before its claim. */
export interface Candidate {
  readonly delivery: Delivery;
  readonly envelope: Envelope;
  /** Other messages of the same task in the same batch. */
  readonly copies: Delivery[];
}

/** What a claim came to, and so what happens to the message. */
export type Verdict =
  /** The lease is ours: start the handler. */
  | { readonly kind: "start"; readonly record: TaskRecord }
  /** Nothing to do any more. */
  | { readonly kind: "drop"; readonly because: "running" | "final" | "no-record" }
  /** Another receive of this very message is running: show it again when the lease is over. */
  | { readonly kind: "hide"; readonly messageId: string; readonly forMs: number }
  /** Its time has not come. */
  | { readonly kind: "early"; readonly record: TaskRecord }
  /** It may run, but not by this claim: the slot was used before, or somebody gave it back this moment. */
  | { readonly kind: "again"; readonly record: TaskRecord }
  /** Its last attempt ended without a word: it is taken over alone. */
  | { readonly kind: "suspect"; readonly record: TaskRecord }
  /** It is dead, and its dead letter may not have been sent. */
  | { readonly kind: "send-letter"; readonly record: TaskRecord }
  /** The ledger did not answer: the message comes again by itself. */
  | { readonly kind: "leave"; readonly error: TasklaneError };

/**
 * Judges the answer to a claim.
 *
 * ```
 * refused by ── no record ─────────────────────────────► drop
 *            ├─ final ──────────── dead ───────────────► send-letter, else drop
 *            ├─ running ── lease over ─────────────────► suspect
 *            │          ├─ one of these messages ──────► hide
 *            │          ├─ one that was put back ──────► hide
 *            │          └─ another message ────────────► drop
 *            └─ queued ─── notBefore still to come ────► early, else again
 * ```
 *
 * @param messageIds the messages of the task that the worker holds
 * @param skewMs how far clocks may differ before a lease counts as over
 * @param standIn the message among them that was sent in the place of another without a claim: the attempt that runs may have
 * come from that other one, as when its process stood still for longer than its lease, and then nothing else tells of its crash
 */
export function judgeClaim(
  outcome: WriteOutcome,
  messageIds: readonly string[],
  now: number,
  skewMs: number,
  standIn?: string,
): Verdict {
  if (outcome.kind === "written") return { kind: "start", record: outcome.record };
  if (outcome.kind === "failed") return { kind: "leave", error: outcome.error };
  const { record } = outcome;
  if (record === undefined || isGone(record, now)) return { kind: "drop", because: "no-record" };
  if (record.state === "dead") return { kind: "send-letter", record };
  if (isFinal(record.state)) return { kind: "drop", because: "final" };
  if (record.state === "queued") return record.notBefore > now ? { kind: "early", record } : { kind: "again", record };
  const overAt = (record.leaseUntil ?? 0) + skewMs;
  if (overAt < now) return { kind: "suspect", record };
  if (record.messageId !== undefined && messageIds.includes(record.messageId))
    return { kind: "hide", messageId: record.messageId, forMs: overAt - now + 1_000 };
  if (standIn !== undefined) return { kind: "hide", messageId: standIn, forMs: overAt - now + 1_000 };
  return { kind: "drop", because: "running" };
}

/** Takes the messages of one task in a batch together, in the order of arrival. */
export function groupByTask(candidates: readonly { delivery: Delivery; envelope: Envelope }[]): Candidate[] {
  const groups = new Map<string, Candidate>();
  for (const { delivery, envelope } of candidates) {
    const group = groups.get(envelope.id);
    if (group === undefined) groups.set(envelope.id, { delivery, envelope, copies: [] });
    else group.copies.push(delivery);
  }
  return [...groups.values()];
}

/**
 * Claims, and asks once more where no answer came: by its owner a claim that was written is recognised as ours, which would
 * otherwise look like a crash once its lease is over.
 */
export async function claimOrAsk(ledger: Ledger, claims: readonly Claim[]): Promise<WriteOutcome[]> {
  const outcomes = await ledger.claimMany(claims);
  const open = [...outcomes.keys()].filter((place) => outcomes[place]?.kind === "failed");
  if (open.length === 0) return outcomes;
  const answers = await ledger.claimMany(open.flatMap((place) => claims[place] ?? []));
  for (const [at, answer] of answers.entries()) outcomes[open[at] ?? 0] = answer;
  return outcomes;
}

/** The candidate's message, if it was put back without a claim. */
export function standInOf(candidate: Candidate | undefined): string | undefined {
  if (candidate === undefined) return undefined;
  const { envelope, delivery } = candidate;
  return envelope.deferrals > 0 || envelope.unknownSince !== undefined ? delivery.message.id : undefined;
}

/** The messages of a task that a worker holds. */
export function messageIdsOf(candidate: Candidate | undefined): string[] {
  return candidate === undefined ? [] : [candidate.delivery, ...candidate.copies].map(({ message }) => message.id);
}
