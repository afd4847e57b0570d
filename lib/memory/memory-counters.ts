import type { Counter, MinuteCounters } from "../task/counters.ts";
import { counterAttribute, countersOf, minuteOfKey } from "../task/counters.ts";
import type { Item } from "../task/record-codec.ts";
import { ATTRIBUTES } from "../task/record-codec.ts";

/** A minute's item with counters added, as DynamoDB's ADD does. */
export function addToItem(item: Item, counters: readonly Counter[], expiresAt: number): Item {
  const next: Item = { ...item, [ATTRIBUTES.expiresAt]: Math.ceil(expiresAt / 1_000) };
  for (const counter of counters) {
    const attribute = counterAttribute(counter);
    next[attribute] = Number(next[attribute] ?? 0) + counter.count;
  }
  return next;
}

/** What a minute's item tells, if it is there and its time is not over. */
export function readMinute(item: Item | undefined, now: number): MinuteCounters[] {
  if (item === undefined || Number(item[ATTRIBUTES.expiresAt]) <= Math.floor(now / 1_000)) return [];
  const minute = minuteOfKey(String(item[ATTRIBUTES.partition]), String(item[ATTRIBUTES.sort]));
  return [{ minute, counters: countersOf(item) }];
}
