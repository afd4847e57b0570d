import type { IndexPage, IndexQuery } from "../ports/ledger.ts";
import { TasklaneError } from "../task/errors.ts";

/** Where an item stands in an index. */
export interface IndexPlace {
  readonly shard: string;
  readonly at: number;
}

interface Entry {
  readonly at: number;
  readonly id: string;
}

interface Change {
  /** When readers see it. */
  readonly due: number;
  readonly id: string;
  readonly from: IndexPlace | undefined;
  readonly to: IndexPlace | undefined;
}

/** A secondary index in memory: entries in the order of time for each shard, seen by readers after a lag. */
export class MemoryIndex {
  readonly #shards = new Map<string, Entry[]>();
  #unseen: Change[] = [];

  /** Moves an item to where it stands now. Readers see it from `due` on, in milliseconds since 1970. */
  move(id: string, from: IndexPlace | undefined, to: IndexPlace | undefined, due: number): void {
    if (from?.shard !== to?.shard || from?.at !== to?.at) this.#unseen.push({ due, id, from, to });
  }

  /** Reads a page of what may be seen now. */
  query(query: IndexQuery, now: number): IndexPage {
    this.#catchUp(now);
    const all = this.#shards.get(String(query.shard)) ?? [];
    const cursor = query.next === undefined ? undefined : readCursor(query.next);
    const start = placeOf(all, { at: query.from, id: "" });
    const end = placeAfter(all, query.until);
    const found = query.newestFirst
      ? all.slice(start, cursor === undefined ? end : Math.min(end, placeOf(all, cursor))).reverse()
      : all.slice(cursor === undefined ? start : Math.max(start, placeBehind(all, cursor)), end);
    const entries = found.slice(0, query.limit).map(({ id, at }) => ({ id, at }));
    const last = entries.at(-1);
    return found.length > entries.length && last !== undefined
      ? { entries, next: `${last.at}#${last.id}` }
      : { entries };
  }

  #catchUp(now: number): void {
    const seen = this.#unseen.filter((change) => change.due <= now);
    if (seen.length === 0) return;
    this.#unseen = this.#unseen.filter((change) => change.due > now);
    for (const { id, from, to } of seen) {
      if (from !== undefined) this.#take(id, from);
      if (to !== undefined) this.#put(id, to);
    }
  }

  #put(id: string, { shard, at }: IndexPlace): void {
    const entries = this.#shards.get(shard) ?? [];
    this.#shards.set(shard, entries);
    entries.splice(placeOf(entries, { at, id }), 0, { at, id });
  }

  #take(id: string, { shard, at }: IndexPlace): void {
    const entries = this.#shards.get(shard) ?? [];
    const place = placeOf(entries, { at, id });
    if (entries[place]?.id === id && entries[place].at === at) entries.splice(place, 1);
  }
}

/** The first place whose entry does not come before the one given. */
function placeOf(entries: readonly Entry[], wanted: Entry): number {
  let [low, high] = [0, entries.length];
  while (low < high) {
    const middle = (low + high) >> 1;
    const entry = entries[middle];
    if (entry !== undefined && (entry.at < wanted.at || (entry.at === wanted.at && entry.id < wanted.id)))
      low = middle + 1;
    else high = middle;
  }
  return low;
}

function placeBehind(entries: readonly Entry[], { at, id }: Entry): number {
  const place = placeOf(entries, { at, id });
  return entries[place]?.at === at && entries[place].id === id ? place + 1 : place;
}

function placeAfter(entries: readonly Entry[], at: number): number {
  // No id sorts behind this one.
  return placeOf(entries, { at, id: "\uffff" });
}

function readCursor(next: string): Entry {
  const [, at, id] = /^(\d+)#(.+)$/.exec(next) ?? [];
  if (at !== undefined && id !== undefined) return { at: Number(at), id };
  throw new TasklaneError("OPTION_INVALID", {
    what: "The token of the next page is not one that this index gave",
    received: next,
    expected: "the `next` of the page before",
  });
}
