import type { Counter, MinuteCounters } from "../task/counters.ts";
import type { TasklaneError } from "../task/errors.ts";
import type { RecordPatch, TaskRecord } from "../task/record.ts";
import type { TaskState } from "../task/states.ts";

/** What became of writing a new record. */
export type RecordOutcome =
  | { readonly kind: "created" }
  /** A record that is not over has this id; it may be our own from an earlier, unanswered try: compare `owner`. */
  | { readonly kind: "exists"; readonly record: TaskRecord }
  /** Certainly not written. */
  | { readonly kind: "failed"; readonly error: TasklaneError }
  /** No answer: it may or may not have been written. */
  | { readonly kind: "unknown"; readonly error: TasklaneError };

/** What became of a conditional write. */
export type WriteOutcome =
  /** The record as it is now. */
  | { readonly kind: "written"; readonly record: TaskRecord }
  /** The condition did not hold; the record as it is, or `undefined` if there is none. */
  | { readonly kind: "refused"; readonly record: TaskRecord | undefined }
  /** Not written, or no answer: ask again with the same owner. */
  | { readonly kind: "failed"; readonly error: TasklaneError };

/** Takes the lease of a task, which means: a handler starts now. */
export interface Claim {
  readonly id: string;
  /** New for each call and task, so that an unanswered claim is recognised. */
  readonly owner: string;
  readonly messageId: string;
  readonly now: number;
  readonly leaseUntil: number;
  /** The rate limit slot it starts in: each is good once. */
  readonly slotUs?: number | undefined;
  /**
   * Absent: from `queued`, once `notBefore` has come. Present: from `running` under this fence, whose lease ended before
   * `endedBefore`, which is the allowed clock skew before `now`; counts a crash.
   */
  readonly takeover?: { readonly fence: number; readonly endedBefore: number } | undefined;
}

/** Writes to a task under its lease: refused unless fence and owner are the record's, and it runs. */
export interface HeldWrite {
  readonly id: string;
  readonly fence: number;
  readonly owner: string;
  readonly patch: RecordPatch;
}

/** Writes to a task that nobody may have moved meanwhile: refused unless state, fence and epoch are as seen. */
export interface SeenWrite {
  readonly id: string;
  readonly seen: { readonly state: TaskState; readonly fence: number; readonly epoch: number };
  readonly patch: RecordPatch;
}

/** A part of a task that lies beside its record, since it is large or rarely needed. */
export interface SideItem {
  readonly id: string;
  /** Unique within the task. */
  readonly key: string;
  readonly value: string;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
  /** If given, an item that holds a higher order is left as it is. */
  readonly order?: number | undefined;
}

/** A page of ids from an index, eventually consistent: decide nothing on it without reading the record. */
export interface IndexPage {
  readonly entries: readonly { readonly id: string; readonly at: number }[];
  /** Present if there is more. */
  readonly next?: string | undefined;
}

/** Which stretch of an index to read, `from` and `until` included, oldest first unless `newestFirst`. */
export interface IndexQuery {
  readonly index: "created" | "owed" | "dead";
  readonly shard: number;
  readonly from: number;
  readonly until: number;
  readonly limit: number;
  readonly next?: string | undefined;
  readonly newestFirst?: boolean | undefined;
}

/** Asks for slots of a rate limit's bucket. All times are microseconds since 1970. */
export interface Reservation {
  readonly bucket: string;
  readonly count: number;
  readonly nowUs: number;
  /** Between two slots. */
  readonly intervalUs: number;
  /** A bucket that lags behind this starts here: what was not used is lost beyond the burst. */
  readonly floorUs: number;
  /** No slot is later. */
  readonly horizonUs: number;
  /** When the store may forget the bucket. */
  readonly expiresAt: number;
}

/** Slots handed out: `granted` of them from `firstUs` on, each one interval after the last. Fewer than asked, or none, if the rest is beyond the horizon. */
export interface Reserved {
  readonly granted: number;
  readonly firstUs: number;
  /** The next free slot. */
  readonly nextUs: number;
}

/** How records are read. */
export interface ReadOptions {
  readonly eventually?: boolean | undefined;
  readonly skipUnreadable?: boolean | undefined;
}

/** A small document with a version, for what schedulers share. */
export interface StoredDocument {
  readonly value: string;
  /** 0 = there is none. */
  readonly version: number;
}

/** The truth: the record of every task. DynamoDB's semantics of conditional writes. Batch verbs answer in the order of their entries and never throw for one. */
export interface Ledger {
  /** Writes new records; a record that is over counts as absent. */
  recordMany(records: readonly TaskRecord[], now: number): Promise<RecordOutcome[]>;
  /**
   * Reads records, strongly consistent unless told otherwise.
   *
   * @param options.skipUnreadable for walks over many: leaves out a record that this version cannot read, as if there were none
   * @throws TasklaneError
   */
  readMany(ids: readonly string[], options?: ReadOptions): Promise<(TaskRecord | undefined)[]>;
  claimMany(claims: readonly Claim[]): Promise<WriteOutcome[]>;
  settleMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]>;
  /** Extends leases and shows progress; the record tells of a wish to cancel. */
  renewMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]>;
  changeMany(writes: readonly SeenWrite[]): Promise<WriteOutcome[]>;
  /** @throws TasklaneError */
  putSide(item: SideItem): Promise<void>;
  /** All side items of a task whose key starts so, by key. @throws TasklaneError */
  readSides(id: string, prefix: string): Promise<{ key: string; value: string }[]>;
  /** @throws TasklaneError */
  query(query: IndexQuery): Promise<IndexPage>;
  /** @throws TasklaneError */
  reserve(reservation: Reservation): Promise<Reserved>;
  /** @throws TasklaneError */
  readDocument(name: string): Promise<StoredDocument>;
  /** Replaces a document if its version is still the one given; answers whether it was. @throws TasklaneError */
  writeDocument(name: string, value: string, version: number): Promise<boolean>;
  /**
   * Adds to what was counted in a minute, in one write. If it is not answered it may or may not have been done.
   *
   * @param minute milliseconds since 1970 at which it begins
   * @param counters each lane, task and name once, at most `COUNTERS_PER_WRITE_MAX` of them
   * @param expiresAt when the store may forget the minute, in milliseconds since 1970
   * @throws TasklaneError
   */
  addCounters(minute: number, counters: readonly Counter[], expiresAt: number): Promise<void>;
  /**
   * The minutes that began in a stretch of time, both ends included, in which anything was counted, oldest first. Eventually
   * consistent, and never longer back from `until` than counters are kept.
   *
   * @throws TasklaneError
   */
  readCounters(from: number, until: number): Promise<MinuteCounters[]>;
}
