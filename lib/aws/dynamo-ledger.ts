import type {
  Claim,
  HeldWrite,
  IndexPage,
  IndexQuery,
  Ledger,
  ReadOptions,
  RecordOutcome,
  Reservation,
  Reserved,
  SeenWrite,
  SideItem,
  StoredDocument,
  WriteOutcome,
} from "../ports/ledger.ts";
import type { Counter, MinuteCounters } from "../task/counters.ts";
import { TasklaneError } from "../task/errors.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import {
  ATTRIBUTES,
  decodeRecord,
  encodePatch,
  encodeRecord,
  RECORD_SORT_KEY,
  taskPartition,
} from "../task/record-codec.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { AS_SEEN, DUE, HELD, LEASE_OVER, NOT_TAKEN, SLOT_UNUSED } from "./dynamo-conditions.ts";
import { addCounters, readCounters } from "./dynamo-counters.ts";
import { readDocument, writeDocument } from "./dynamo-documents.ts";
import { queryIndex } from "./dynamo-index.ts";
import type { ItemKey } from "./dynamo-item.ts";
import { RateLimitBuckets } from "./dynamo-rate-limit.ts";
import { putSide, readSides } from "./dynamo-sides.ts";
import type { ConditionalWrite, DynamoTable, WriteAnswer } from "./dynamo-table.ts";
import { readItems, updateOf, writeMany } from "./dynamo-table.ts";

/** A record that vanishes between a refusal and the look at it is written again so often. */
const RECORD_TRIES_MAX = 3;

/** The ledger port on one DynamoDB table. */
export class DynamoLedger implements Ledger {
  readonly #table: DynamoTable;
  readonly #buckets: RateLimitBuckets;

  constructor(table: DynamoTable) {
    this.#table = table;
    this.#buckets = new RateLimitBuckets(table);
  }

  async recordMany(records: readonly TaskRecord[], now: number): Promise<RecordOutcome[]> {
    const outcomes = Array.from<RecordOutcome>({ length: records.length });
    let places = [...records.keys()];
    for (let tries = 0; places.length > 0; tries++) {
      const round = places.flatMap((place) => {
        const record = records[place];
        return record === undefined ? [] : [{ place, write: recordWrite(record, now) }];
      });
      const answers = await writeMany(
        this.#table,
        round.map(({ write }) => write),
      );
      places = [];
      for (const [at, { place }] of round.entries()) {
        const answer = answers[at];
        const outcome = answer === undefined ? undefined : this.#recordOutcome(answer, now);
        if (outcome !== undefined) outcomes[place] = outcome;
        else if (tries + 1 < RECORD_TRIES_MAX) places.push(place);
        else outcomes[place] = { kind: "failed", error: this.#elusive() };
      }
    }
    return outcomes;
  }

  async readMany(ids: readonly string[], options?: ReadOptions): Promise<(TaskRecord | undefined)[]> {
    const items = await readItems(this.#table, ids.map(recordKey), options?.eventually !== true);
    return items.map((item) => {
      if (item === undefined) return undefined;
      try {
        return decodeRecord(item);
      } catch (error) {
        if (options?.skipUnreadable === true) return undefined;
        throw error;
      }
    });
  }

  async claimMany(claims: readonly Claim[]): Promise<WriteOutcome[]> {
    const answers = await writeMany(this.#table, claims.map(claimWrite));
    // Each claim has an owner of its own, so a record that carries it tells of an earlier try whose answer was lost.
    return this.#outcomes(answers, (record, place) => record.owner === claims[place]?.owner);
  }

  async settleMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]> {
    const answers = await writeMany(this.#table, writes.map(heldWrite));
    // Only the settle itself ends `running` without moving the fence and the owner on.
    return this.#outcomes(answers, (record, place) => {
      const write = writes[place];
      return record.owner === write?.owner && record.fence === write.fence && record.state !== "running";
    });
  }

  async renewMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]> {
    return this.#outcomes(await writeMany(this.#table, writes.map(heldWrite)));
  }

  async changeMany(writes: readonly SeenWrite[]): Promise<WriteOutcome[]> {
    return this.#outcomes(await writeMany(this.#table, writes.map(seenWrite)));
  }

  putSide(item: SideItem): Promise<void> {
    return putSide(this.#table, item);
  }

  readSides(id: string, prefix: string): Promise<{ key: string; value: string }[]> {
    return readSides(this.#table, id, prefix);
  }

  query(query: IndexQuery): Promise<IndexPage> {
    return queryIndex(this.#table, query);
  }

  reserve(reservation: Reservation): Promise<Reserved> {
    return this.#buckets.reserve(reservation);
  }

  readDocument(name: string): Promise<StoredDocument> {
    return readDocument(this.#table, name);
  }

  writeDocument(name: string, value: string, version: number): Promise<boolean> {
    return writeDocument(this.#table, name, value, version);
  }

  addCounters(minute: number, counters: readonly Counter[], expiresAt: number): Promise<void> {
    return addCounters(this.#table, minute, counters, expiresAt);
  }

  readCounters(from: number, until: number): Promise<MinuteCounters[]> {
    return readCounters(this.#table, from, until);
  }

  /** Answers `undefined` if what stood in the way is gone by now. */
  #recordOutcome(answer: WriteAnswer, now: number): RecordOutcome | undefined {
    if (answer.kind === "done") return { kind: "created" };
    if (answer.kind === "failed") return { kind: answer.unanswered ? "unknown" : "failed", error: answer.error };
    if (answer.item === undefined) return undefined;
    try {
      const record = decodeRecord(answer.item);
      return isGone(record, now) ? undefined : { kind: "exists", record };
    } catch (error) {
      return { kind: "failed", error: this.#unreadable(error) };
    }
  }

  /** Tells answers in the port's words. `isOurs` recognises, in the record that refused a write, that the write was done before. */
  #outcomes(
    answers: readonly WriteAnswer[],
    isOurs: (record: TaskRecord, place: number) => boolean = () => false,
  ): WriteOutcome[] {
    return answers.map((answer, place) => {
      if (answer.kind === "failed") return { kind: "failed", error: answer.error };
      try {
        if (answer.kind === "done") return { kind: "written", record: decodeRecord(answer.item) };
        if (answer.item === undefined) return { kind: "refused", record: undefined };
        const record = decodeRecord(answer.item);
        return { kind: isOurs(record, place) ? "written" : "refused", record };
      } catch (error) {
        return { kind: "failed", error: this.#unreadable(error) };
      }
    });
  }

  #unreadable(error: unknown): TasklaneError {
    return toTasklaneError(error, { action: "dynamodb:GetItem", resource: `table "${this.#table.name}"` });
  }

  #elusive(): TasklaneError {
    return new TasklaneError("BACKEND_UNAVAILABLE", {
      what: `A record of table "${this.#table.name}" was in the way ${RECORD_TRIES_MAX} times, and gone each time it was looked at`,
      fix: "try again",
    });
  }
}

function recordKey(id: string): ItemKey {
  return { partition: taskPartition(id), sort: RECORD_SORT_KEY };
}

function recordWrite(record: TaskRecord, now: number): ConditionalWrite {
  return {
    key: recordKey(record.id),
    change: { put: encodeRecord(record) },
    condition: NOT_TAKEN,
    values: { nowSeconds: Math.floor(now / 1_000) },
  };
}

function claimWrite(claim: Claim): ConditionalWrite {
  const { set, remove } = encodePatch(claim.id, {
    set: {
      state: "running",
      owner: claim.owner,
      messageId: claim.messageId,
      leaseUntil: claim.leaseUntil,
      startedAt: claim.now,
      resends: 0,
      slotUs: claim.slotUs,
    },
  });
  const { fence, attempts, crashes } = ATTRIBUTES;
  const counts = [`#${fence} = #${fence} + :one`, `#${attempts} = if_not_exists(#${attempts}, :zero) + :one`];
  if (claim.takeover !== undefined) counts.push(`#${crashes} = if_not_exists(#${crashes}, :zero) + :one`);
  const ready =
    claim.takeover === undefined
      ? {
          condition: claim.slotUs === undefined ? DUE : `${DUE} AND ${SLOT_UNUSED}`,
          values: { queued: "queued", now: claim.now },
        }
      : {
          condition: LEASE_OVER,
          values: { running: "running", seenFence: claim.takeover.fence, leaseEnd: claim.takeover.endedBefore },
        };
  return {
    key: recordKey(claim.id),
    change: { update: updateOf(set, remove, counts) },
    condition: ready.condition,
    values: { ...set, ...ready.values, one: 1, zero: 0 },
  };
}

function heldWrite(write: HeldWrite): ConditionalWrite {
  const { set, remove } = encodePatch(write.id, write.patch);
  return {
    key: recordKey(write.id),
    change: { update: updateOf(set, remove) },
    condition: HELD,
    values: { ...set, running: "running", heldFence: write.fence, heldOwner: write.owner },
  };
}

function seenWrite(write: SeenWrite): ConditionalWrite {
  const { set, remove } = encodePatch(write.id, write.patch);
  const { state, fence, epoch } = write.seen;
  return {
    key: recordKey(write.id),
    change: { update: updateOf(set, remove) },
    condition: AS_SEEN,
    values: { ...set, seenState: state, seenFence: fence, seenEpoch: epoch },
  };
}
