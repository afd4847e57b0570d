import type { Claim, HeldWrite, SeenWrite } from "../ports/ledger.ts";
import type { RecordPatch, TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";

/*
 * The conditions of the ledger's writes, as functions of the record that is stored. The AWS adapter holds the same ones as
 * expressions; the contract suite keeps the two equal.
 */

/** A new record may be written where none is, or where one's time is over. */
export function canRecord(stored: TaskRecord | undefined, now: number): boolean {
  return stored === undefined || isGone(stored, now);
}

/**
 * A claim takes a queued task whose time has come, under a slot of its rate limit that is later than the last claim's; or a
 * running one whose lease is over.
 */
export function canClaim(stored: TaskRecord, claim: Claim): boolean {
  const { now, slotUs, takeover } = claim;
  if (takeover === undefined)
    return (
      stored.state === "queued" && stored.notBefore <= now && (slotUs === undefined || (stored.slotUs ?? 0) < slotUs)
    );
  const { leaseUntil = Number.POSITIVE_INFINITY } = stored;
  return stored.state === "running" && stored.fence === takeover.fence && leaseUntil < takeover.endedBefore;
}

/** An earlier try of the same claim was written, and its answer was lost. */
export function isOwnClaim(stored: TaskRecord, claim: Claim): boolean {
  return stored.owner === claim.owner;
}

/** What a claim writes. */
export function claimPatch(stored: TaskRecord, claim: Claim): RecordPatch {
  const { owner, messageId, leaseUntil, now, slotUs, takeover } = claim;
  return {
    set: {
      state: "running",
      owner,
      messageId,
      leaseUntil,
      startedAt: now,
      fence: stored.fence + 1,
      attempts: stored.attempts + 1,
      crashes: stored.crashes + (takeover === undefined ? 0 : 1),
      resends: 0,
      ...(slotUs === undefined ? {} : { slotUs }),
    },
  };
}

/** The task runs under the lease of the writer. */
export function isHeld(stored: TaskRecord, write: HeldWrite): boolean {
  return stored.state === "running" && isOfLease(stored, write);
}

/** An earlier try of the same settle was written: the task no longer runs, and nobody has claimed it since. */
export function isOwnSettle(stored: TaskRecord, write: HeldWrite): boolean {
  return stored.state !== "running" && isOfLease(stored, write);
}

function isOfLease(stored: TaskRecord, write: HeldWrite): boolean {
  return stored.fence === write.fence && stored.owner === write.owner;
}

/** Nobody has moved the task since it was read. */
export function isAsSeen(stored: TaskRecord, { seen }: SeenWrite): boolean {
  return stored.state === seen.state && stored.fence === seen.fence && stored.epoch === seen.epoch;
}
