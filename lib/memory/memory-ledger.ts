import type { Clock } from "../ports/clock.ts";
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
import { countedStretch, counterKey } from "../task/counters.ts";
import { TasklaneError } from "../task/errors.ts";
import { itemBytes } from "../task/item-size.ts";
import { INDEXES } from "../task/ledger-shape.ts";
import type { Item } from "../task/record-codec.ts";
import {
  ATTRIBUTES,
  decodeRecord,
  encodePatch,
  encodeRecord,
  RECORD_SORT_KEY,
  taskPartition,
} from "../task/record-codec.ts";
import type { RecordPatch, TaskRecord } from "../task/record.ts";
import { canClaim, canRecord, claimPatch, isAsSeen, isHeld, isOwnClaim, isOwnSettle } from "./memory-conditions.ts";
import { addToItem, readMinute } from "./memory-counters.ts";
import type { Faults, MemoryVerb } from "./memory-faults.ts";
import { strike, withFault } from "./memory-faults.ts";
import type { IndexPlace } from "./memory-index.ts";
import { MemoryIndex } from "./memory-index.ts";

/** DynamoDB's largest item: 400 KB. https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/Constraints.html */
const ITEM_MAX_BYTES = 409_600;
/** How long DynamoDB may keep an item whose time is over: "within a few days". https://docs.aws.amazon.com/amazondynamodb/latest/developerguide/TTL.html */
const DEFAULT_TTL_LAG_MS = 2 * 86_400_000;

/** What a {@link MemoryLedger} is made of. */
export interface MemoryLedgerOptions {
  readonly clock: Clock;
  /** How much later readers of an index see a write, in milliseconds. Default 0. */
  readonly indexLagMs?: number | undefined;
  /** How long an item outlives its expiry, in milliseconds. Default two days. */
  readonly ttlLagMs?: number | undefined;
  readonly faults?: Faults | undefined;
}

/** DynamoDB in memory: the same items that the AWS adapter writes, in maps, under the same conditions. */
export class MemoryLedger implements Ledger {
  readonly #clock: Clock;
  readonly #faults: Faults | undefined;
  readonly #indexLagMs: number;
  readonly #ttlLagMs: number;
  readonly #partitions = new Map<string, Map<string, Item>>();
  readonly #indexes = { created: new MemoryIndex(), owed: new MemoryIndex(), dead: new MemoryIndex() };

  constructor(options: MemoryLedgerOptions) {
    this.#clock = options.clock;
    this.#faults = options.faults;
    this.#indexLagMs = options.indexLagMs ?? 0;
    this.#ttlLagMs = options.ttlLagMs ?? DEFAULT_TTL_LAG_MS;
  }

  recordMany(records: readonly TaskRecord[], now: number): Promise<RecordOutcome[]> {
    return Promise.all(
      records.map(async (record): Promise<RecordOutcome> => {
        const struck = await strike(this.#faults, { verb: "recordMany", target: record.id });
        if (struck?.done === false) return { kind: "failed", error: struck.error };
        const outcome = this.#record(record, now);
        return struck === undefined ? outcome : { kind: "unknown", error: struck.error };
      }),
    );
  }

  #record(record: TaskRecord, now: number): RecordOutcome {
    const stored = this.#read(record.id);
    if (stored !== undefined && !canRecord(stored, now)) return { kind: "exists", record: stored };
    const item = encodeRecord(record);
    const error = refusalOf(item);
    if (error !== undefined) return { kind: "failed", error };
    this.#store(item);
    return { kind: "created" };
  }

  async readMany(ids: readonly string[], options?: ReadOptions): Promise<(TaskRecord | undefined)[]> {
    return Promise.all(
      ids.map((id) =>
        withFault(this.#faults, { verb: "readMany", target: id }, () => {
          try {
            return this.#read(id);
          } catch (error) {
            if (options?.skipUnreadable === true) return undefined;
            throw error;
          }
        }),
      ),
    );
  }

  claimMany(claims: readonly Claim[]): Promise<WriteOutcome[]> {
    return this.#writeMany("claimMany", claims, canClaim, claimPatch, isOwnClaim);
  }

  settleMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]> {
    return this.#writeMany("settleMany", writes, isHeld, givenPatch, isOwnSettle);
  }

  renewMany(writes: readonly HeldWrite[]): Promise<WriteOutcome[]> {
    return this.#writeMany("renewMany", writes, isHeld, givenPatch);
  }

  changeMany(writes: readonly SeenWrite[]): Promise<WriteOutcome[]> {
    return this.#writeMany("changeMany", writes, isAsSeen, givenPatch);
  }

  #writeMany<Write extends { readonly id: string }>(
    verb: MemoryVerb,
    writes: readonly Write[],
    holds: (stored: TaskRecord, write: Write) => boolean,
    patchOf: (stored: TaskRecord, write: Write) => RecordPatch,
    isOurs?: (stored: TaskRecord, write: Write) => boolean,
  ): Promise<WriteOutcome[]> {
    return Promise.all(
      writes.map(async (write): Promise<WriteOutcome> => {
        const struck = await strike(this.#faults, { verb, target: write.id });
        if (struck?.done === false) return { kind: "failed", error: struck.error };
        const stored = this.#read(write.id);
        let outcome: WriteOutcome;
        if (stored !== undefined && holds(stored, write)) outcome = this.#patch(write.id, patchOf(stored, write));
        else if (stored !== undefined && isOurs?.(stored, write)) outcome = { kind: "written", record: stored };
        else outcome = { kind: "refused", record: stored };
        return struck === undefined ? outcome : { kind: "failed", error: struck.error };
      }),
    );
  }

  #patch(id: string, patch: RecordPatch): WriteOutcome {
    const { set, remove } = encodePatch(id, patch);
    const item: Item = { ...this.#find(taskPartition(id), RECORD_SORT_KEY), ...set };
    for (const name of remove) delete item[name];
    const error = refusalOf(item);
    if (error !== undefined) return { kind: "failed", error };
    this.#store(item);
    return { kind: "written", record: decodeRecord(item) };
  }

  putSide(side: SideItem): Promise<void> {
    const { id, key, value, expiresAt, order } = side;
    return this.#under("putSide", id, () => {
      if (key === "" || key === RECORD_SORT_KEY)
        throw new TasklaneError("OPTION_INVALID", {
          what: "A side item of a task would lie where its record is",
          received: key,
          expected: `a key other than "" and "${RECORD_SORT_KEY}"`,
        });
      const stored = this.#find(taskPartition(id), key);
      if (order !== undefined && Number(stored?.["n"] ?? order) > order) return;
      const item: Item = { pk: taskPartition(id), sk: key, v: value, x: Math.ceil(expiresAt / 1_000) };
      if (order !== undefined) item["n"] = order;
      this.#store(item);
    });
  }

  readSides(id: string, prefix: string): Promise<{ key: string; value: string }[]> {
    return this.#under("readSides", id, () => {
      const nowSeconds = Math.floor(this.#clock.now() / 1_000);
      return [...(this.#partitions.get(taskPartition(id))?.keys() ?? [])]
        .filter((key) => key !== RECORD_SORT_KEY && key.startsWith(prefix))
        .sort()
        .flatMap((key) => {
          const item = this.#find(taskPartition(id), key);
          return item === undefined || Number(item["x"]) <= nowSeconds ? [] : [{ key, value: String(item["v"]) }];
        });
    });
  }

  query(query: IndexQuery): Promise<IndexPage> {
    return this.#under("query", query.index, () => this.#indexes[query.index].query(query, this.#clock.now()));
  }

  reserve(reservation: Reservation): Promise<Reserved> {
    const { bucket, count, floorUs, horizonUs, intervalUs, expiresAt } = reservation;
    return this.#under("reserve", bucket, () => {
      const key = { pk: `b#${bucket}`, sk: RECORD_SORT_KEY };
      const firstUs = Math.max(Number(this.#find(key.pk, key.sk)?.["n"] ?? floorUs), floorUs);
      let granted = 0;
      while (granted < count && firstUs + granted * intervalUs <= horizonUs) granted += 1;
      const nextUs = firstUs + granted * intervalUs;
      if (granted > 0) this.#store({ ...key, n: nextUs, x: Math.ceil(expiresAt / 1_000) });
      return { granted, firstUs, nextUs };
    });
  }

  readDocument(name: string): Promise<StoredDocument> {
    return this.#under("readDocument", name, () => this.#document(name));
  }

  writeDocument(name: string, value: string, version: number): Promise<boolean> {
    return this.#under("writeDocument", name, () => {
      if (this.#document(name).version !== version) return false;
      this.#store({ pk: `d#${name}`, sk: RECORD_SORT_KEY, v: value, n: version + 1 });
      return true;
    });
  }

  addCounters(minute: number, counters: readonly Counter[], expiresAt: number): Promise<void> {
    const { partition, sort } = counterKey(minute);
    return this.#under("addCounters", `${partition} ${sort}`, () =>
      this.#store(addToItem({ pk: partition, sk: sort, ...this.#find(partition, sort) }, counters, expiresAt)),
    );
  }

  readCounters(from: number, until: number): Promise<MinuteCounters[]> {
    return this.#under("readCounters", "counters", () =>
      countedStretch(from, until).flatMap(({ partition, first, last }) =>
        [...(this.#partitions.get(partition)?.keys() ?? [])]
          .filter((sort) => sort >= first && sort <= last)
          .sort()
          .flatMap((sort) => readMinute(this.#find(partition, sort), this.#clock.now())),
      ),
    );
  }

  #document(name: string): StoredDocument {
    const item = this.#find(`d#${name}`, RECORD_SORT_KEY);
    return { value: String(item?.["v"] ?? ""), version: Number(item?.["n"] ?? 0) };
  }

  /** The stored item of a task's record, for tests that measure it. */
  recordItem(id: string): Item | undefined {
    const item = this.#find(taskPartition(id), RECORD_SORT_KEY);
    return item === undefined ? undefined : { ...item };
  }

  #under<Result>(verb: MemoryVerb, target: string, effect: () => Result): Promise<Result> {
    return withFault(this.#faults, { verb, target }, effect);
  }

  #read(id: string): TaskRecord | undefined {
    const item = this.#find(taskPartition(id), RECORD_SORT_KEY);
    return item === undefined ? undefined : decodeRecord(item);
  }

  #find(partition: string, sort: string): Item | undefined {
    const items = this.#partitions.get(partition);
    const item = items?.get(sort);
    const expiry = item?.[ATTRIBUTES.expiresAt];
    if (item === undefined || typeof expiry !== "number") return item;
    if (expiry * 1_000 + this.#ttlLagMs > this.#clock.now()) return item;
    items?.delete(sort);
    if (items?.size === 0) this.#partitions.delete(partition);
    this.#moveInIndexes(item, undefined);
    return undefined;
  }

  #store(item: Item): void {
    const error = refusalOf(item);
    if (error !== undefined) throw error;
    const [partition, sort] = [String(item[ATTRIBUTES.partition]), String(item[ATTRIBUTES.sort])];
    const items = this.#partitions.get(partition) ?? new Map<string, Item>();
    this.#partitions.set(partition, items);
    this.#moveInIndexes(items.get(sort), item);
    items.set(sort, item);
  }

  #moveInIndexes(from: Item | undefined, to: Item | undefined): void {
    const id = String((to ?? from)?.[ATTRIBUTES.partition]).slice(taskPartition("").length);
    const due = this.#clock.now() + this.#indexLagMs;
    for (const name of ["created", "owed", "dead"] as const)
      this.#indexes[name].move(id, placeIn(name, from), placeIn(name, to), due);
  }
}

function givenPatch(_stored: TaskRecord, write: { readonly patch: RecordPatch }): RecordPatch {
  return write.patch;
}

function placeIn(name: keyof typeof INDEXES, item: Item | undefined): IndexPlace | undefined {
  const shard = item?.[INDEXES[name].shard];
  const at = item?.[INDEXES[name].time];
  return typeof shard === "string" && typeof at === "number" ? { shard, at } : undefined;
}

function refusalOf(item: Item): TasklaneError | undefined {
  const bytes = itemBytes(item);
  if (bytes <= ITEM_MAX_BYTES) return undefined;
  return new TasklaneError("PAYLOAD_TOO_LARGE", {
    what: `The item ${item[ATTRIBUTES.partition]} is larger than the ledger takes`,
    received: `${bytes} bytes`,
    expected: `at most ${ITEM_MAX_BYTES} bytes`,
  });
}
