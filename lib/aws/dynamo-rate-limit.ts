import type { Reservation, Reserved } from "../ports/ledger.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Item } from "../task/record-codec.ts";
import { ATTRIBUTES, RECORD_SORT_KEY } from "../task/record-codec.ts";
import { BUCKET_HAS_ROOM, BUCKET_LAGS, NEXT_SLOT } from "./dynamo-conditions.ts";
import type { ConditionalWrite, DynamoTable, WriteAnswer } from "./dynamo-table.ts";
import { updateOf, writeSingle } from "./dynamo-table.ts";

/** Writes per reservation: one in the common case, two after a wrong guess, more only in a race near the horizon. */
const TRIES_MAX = 6;
/** Buckets whose last state is remembered, for the guess. A limit that is split by key may have any number. */
const REMEMBERED_MAX = 10_000;

const { expiresAt } = ATTRIBUTES;

/**
 * Hands out slots of rate limits by the generic cell rate algorithm, on one item per bucket that holds the next free slot.
 *
 * ```
 *            floor (now − burst)          now                                  horizon
 * ──────────────┼──────────────────────────┼──────────────────────────────────────┼────► time
 *  next free slot here: the bucket lags     next free slot here: add to it          here: none is free
 *  → slots from the floor on                → slots from there on, up to the horizon
 * ```
 *
 * An unanswered write that was done after all wastes its slots: fewer starts, never more.
 */
export class RateLimitBuckets {
  readonly #table: DynamoTable;
  /** The next free slot as last seen, only to guess which of the two writes will do. */
  readonly #seen = new Map<string, number>();

  constructor(table: DynamoTable) {
    this.#table = table;
  }

  async reserve(reservation: Reservation): Promise<Reserved> {
    const { floorUs, horizonUs, intervalUs } = reservation;
    let nextUs = this.#seen.get(reservation.bucket);
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const lags = nextUs === undefined || nextUs < floorUs;
      const fromUs = nextUs === undefined || lags ? floorUs : nextUs;
      // The next free slot only grows, so what was seen is enough to say that nothing is free.
      const granted = Math.min(reservation.count, slotsUntil(fromUs, horizonUs, intervalUs));
      if (granted < 1) return { granted: 0, firstUs: fromUs, nextUs: fromUs };
      const answer = await writeSingle(
        this.#table,
        lags ? lagging(reservation, granted) : advancing(reservation, granted),
      );
      if (answer.kind === "failed") throw answer.error;
      if (answer.kind === "done") {
        const firstUs = lags ? floorUs : oldSlot(answer, reservation.bucket);
        const reserved = { granted, firstUs, nextUs: firstUs + granted * intervalUs };
        this.#remember(reservation.bucket, reserved.nextUs);
        return reserved;
      }
      nextUs = slotOf(answer.item);
      this.#remember(reservation.bucket, nextUs);
    }
    // So many others took slots meanwhile that there is next to nothing left before the horizon.
    const fromUs = nextUs ?? floorUs;
    return { granted: 0, firstUs: fromUs, nextUs: fromUs };
  }

  #remember(bucket: string, nextUs: number | undefined): void {
    this.#seen.delete(bucket);
    if (nextUs === undefined) return;
    this.#seen.set(bucket, nextUs);
    const [oldest] = this.#seen.keys();
    if (this.#seen.size > REMEMBERED_MAX && oldest !== undefined) this.#seen.delete(oldest);
  }
}

/** How many slots lie from one on, up to the horizon. */
function slotsUntil(firstUs: number, horizonUs: number, intervalUs: number): number {
  return firstUs > horizonUs ? 0 : Math.floor((horizonUs - firstUs) / intervalUs) + 1;
}

function lagging(reservation: Reservation, granted: number): ConditionalWrite {
  const set: Item = {
    [NEXT_SLOT]: reservation.floorUs + granted * reservation.intervalUs,
    [expiresAt]: Math.ceil(reservation.expiresAt / 1_000),
  };
  return {
    key: bucketKey(reservation.bucket),
    change: { update: updateOf(set, []) },
    condition: BUCKET_LAGS,
    values: { ...set, floor: reservation.floorUs },
    returns: "UPDATED_OLD",
  };
}

function advancing(reservation: Reservation, granted: number): ConditionalWrite {
  const set: Item = { [expiresAt]: Math.ceil(reservation.expiresAt / 1_000) };
  return {
    key: bucketKey(reservation.bucket),
    change: { update: updateOf(set, [], [`#${NEXT_SLOT} = #${NEXT_SLOT} + :span`]) },
    condition: BUCKET_HAS_ROOM,
    values: {
      ...set,
      span: granted * reservation.intervalUs,
      floor: reservation.floorUs,
      latestFirst: reservation.horizonUs - (granted - 1) * reservation.intervalUs,
    },
    returns: "UPDATED_OLD",
  };
}

function bucketKey(bucket: string): { partition: string; sort: string } {
  return { partition: `b#${bucket}`, sort: RECORD_SORT_KEY };
}

function slotOf(item: Item | undefined): number | undefined {
  const slot = item?.[NEXT_SLOT];
  return typeof slot === "number" ? slot : undefined;
}

function oldSlot(answer: WriteAnswer & { kind: "done" }, bucket: string): number {
  const slot = slotOf(answer.item);
  if (slot !== undefined) return slot;
  throw new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `The rate limit's bucket "${bucket}" did not tell where it stood`,
    fix: "check that the service answers UpdateItem's ReturnValues UPDATED_OLD",
  });
}
