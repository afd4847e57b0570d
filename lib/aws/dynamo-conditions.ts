import { ATTRIBUTES } from "../task/record-codec.ts";

/*
 * The life of a record, and the condition that each write of it carries. Time runs to the right; a write whose condition does
 * not hold changes nothing and answers with the record as it is.
 *
 *   recordMany   claimMany                       settleMany            claimMany            settleMany       TTL
 *   NOT_TAKEN    DUE (+ SLOT_UNUSED)             HELD                  DUE                  HELD
 *      │            │        renewMany             │                     │                    │               │
 *      ▼            ▼        HELD … HELD           ▼                     ▼                    ▼               ▼
 *   ───●────────────●═════════●══════●═════════════●─────────────────────●════════════════════●───────────────●──────►
 *      queued       running (fence + 1, owner)     queued (notBefore)    running (fence + 1)  final           gone
 *                   │                                                                         (expiresAt)
 *                   └═══ no renewal: leaseUntil ── clock skew ──● claimMany with takeover: LEASE_OVER
 *                                                                 (fence + 1: the old holder's HELD fails from here on)
 *
 *   changeMany (cancel, expire, redrive, owed times): AS_SEEN, from any state, so that nobody's move in between is lost.
 *
 * Names stand as #name and are what ATTRIBUTES says. A value that a write both sets and checks has the attribute's name.
 */
const { partition, state, fence, owner, epoch, notBefore, leaseUntil, slot, expiresAt } = ATTRIBUTES;

/** Nothing is there, or what is there is over though TTL has not removed it. A record without an end is alive. */
export const NOT_TAKEN: string = `attribute_not_exists(#${partition}) OR #${expiresAt} <= :nowSeconds`;

/** Its time has come, and nobody runs it. */
export const DUE: string = `#${state} = :queued AND #${notBefore} <= :now`;

/** The slot of the rate limit is later than the last claim's: each is good once, also if a copy of an older message brings it again. */
export const SLOT_UNUSED: string = `(attribute_not_exists(#${slot}) OR #${slot} < :${slot})`;

/** The lease that was seen ran out, by more than clocks may differ, and nobody took it over since. */
export const LEASE_OVER: string = `#${state} = :running AND #${fence} = :seenFence AND #${leaseUntil} < :leaseEnd`;

/** The caller still holds the lease. The fence alone would do; the owner guards against a record that was made anew. */
export const HELD: string = `#${state} = :running AND #${fence} = :heldFence AND #${owner} = :heldOwner`;

/** Nobody moved it since it was read. */
export const AS_SEEN: string = `#${state} = :seenState AND #${fence} = :seenFence AND #${epoch} = :seenEpoch`;

/** Attributes of items that are no records: a value, its version or order, and a bucket's next free slot. */
export const VALUE = "v";
/** A document's version, a side item's order. */
export const VERSION = "n";
/** A rate limit's next free slot, in microseconds since 1970: GCRA's theoretical arrival time. */
export const NEXT_SLOT = "tat";

/** No side item of a higher order is there. */
export const ORDER_NOT_ABOVE: string = `attribute_not_exists(#${partition}) OR attribute_not_exists(#${VERSION}) OR #${VERSION} <= :${VERSION}`;

/** There is no such document yet. */
export const NO_DOCUMENT: string = `attribute_not_exists(#${partition})`;

/** The document is the one that was read. */
export const DOCUMENT_AS_READ: string = `#${VERSION} = :readVersion`;

/** The bucket is new or was idle for longer than its burst: it starts at the floor. */
export const BUCKET_LAGS: string = `attribute_not_exists(#${NEXT_SLOT}) OR #${NEXT_SLOT} < :floor`;

/** The bucket is busy, and all the slots asked for lie before the horizon. */
export const BUCKET_HAS_ROOM: string = `#${NEXT_SLOT} >= :floor AND #${NEXT_SLOT} <= :latestFirst`;
