import type { Lane } from "./lane.ts";
import { LANES } from "./lane.ts";
import { COUNTER_RETENTION_MS } from "./limits.ts";
import type { Item } from "./record-codec.ts";

/*
 * What hosts count, and how a minute of it lies in the ledger. Each counter is an attribute of the minute's item, so that any
 * number of hosts add to it without reading it.
 */

/** What is counted for the tasks of one name in one lane, with the letter it is stored under. */
const COUNTER_LETTERS = {
  /** Attempts that started. */
  started: "a",
  /** Attempts whose result was committed. */
  succeeded: "s",
  /** Attempts that failed, retried or not. */
  failed: "f",
  /** Attempts that failed and are tried again. */
  retried: "r",
  /** Attempts that put their task off by themselves. */
  snoozed: "z",
  /** Tasks that became dead. */
  dead: "d",
  /** Messages put back without an attempt. */
  deferred: "p",
  /** Attempts that ended without a word, as found by the next one. */
  crashed: "c",
} as const;

/** What is counted. */
export type CounterName = keyof typeof COUNTER_LETTERS;

/** All that is counted. */
export const COUNTER_NAMES: readonly CounterName[] = Object.keys(COUNTER_LETTERS).filter(isCounterName);

/** Stands for the tasks that a write had no room to name. No task can be called so. */
export const OTHER_TASKS = "(other)";

/** How often something happened to the tasks of one name in one lane. */
export interface Counter {
  readonly lane: Lane;
  /** A task's name, or {@link OTHER_TASKS}. */
  readonly task: string;
  readonly name: CounterName;
  readonly count: number;
}

/** What all hosts counted in one minute. Approximate: an answer that got lost may count twice, a host that is killed loses its last minute. */
export interface MinuteCounters {
  /** Milliseconds since 1970 at which the minute begins. */
  readonly minute: number;
  readonly counters: readonly Counter[];
}

/** A minute, in milliseconds. */
export const MINUTE_MS = 60_000;
const DAY_MS = 86_400_000;

/** When the minute that holds a time begins, in milliseconds since 1970. */
export function minuteOf(at: number): number {
  return Math.floor(at / MINUTE_MS) * MINUTE_MS;
}

/** Where a minute's counters lie: one partition a day, so that a stretch of minutes is one query. */
export function counterKey(minute: number): { partition: string; sort: string } {
  const text = new Date(minuteOf(minute)).toISOString();
  return { partition: `c#${text.slice(0, text.indexOf("T"))}`, sort: text.slice(text.indexOf("T") + 1, -8) };
}

/** The attribute that holds a counter. */
export function counterAttribute({ lane, task, name }: Omit<Counter, "count">): string {
  return `${lane.charAt(0)}${COUNTER_LETTERS[name]}:${task}`;
}

/** Reads the counters out of an item. What a later version counts is left out. */
export function countersOf(item: Item): Counter[] {
  const counters: Counter[] = [];
  for (const [attribute, count] of Object.entries(item)) {
    if (typeof count !== "number" || attribute.charAt(2) !== ":") continue;
    const lane = LANES.find((each) => each.startsWith(attribute.charAt(0)));
    const name = COUNTER_NAMES.find((each) => COUNTER_LETTERS[each] === attribute.charAt(1));
    if (lane !== undefined && name !== undefined) counters.push({ lane, task: attribute.slice(3), name, count });
  }
  return counters.sort((one, other) => (counterAttribute(one) < counterAttribute(other) ? -1 : 1));
}

/** Which keys the minutes of a stretch have, day by day, both ends included: nothing is kept for longer than the retention. */
export function countedStretch(
  from: number,
  until: number,
): { readonly partition: string; readonly first: string; readonly last: string }[] {
  const start = Math.ceil(Math.max(from, until - COUNTER_RETENTION_MS) / MINUTE_MS) * MINUTE_MS;
  const days = [];
  for (let at = start; at <= until; at = (Math.floor(at / DAY_MS) + 1) * DAY_MS) {
    const { partition, sort: first } = counterKey(at);
    const last = counterKey(Math.min(until, (Math.floor(at / DAY_MS) + 1) * DAY_MS - 1)).sort;
    days.push({ partition, first, last });
  }
  return days;
}

/** When the minute of a key began, in milliseconds since 1970. */
export function minuteOfKey(partition: string, sort: string): number {
  return Date.parse(`${partition.slice(2)}T${sort}:00.000Z`);
}

function isCounterName(name: string): name is CounterName {
  return name in COUNTER_LETTERS;
}
