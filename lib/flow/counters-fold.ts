import type { Counter, CounterName } from "../task/counters.ts";
import { COUNTER_NAMES, OTHER_TASKS } from "../task/counters.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";

/** The counts of the tasks of one name in one lane. */
export interface TaskCounts {
  readonly lane: Lane;
  readonly task: string;
  readonly counts: Partial<Record<CounterName, number>>;
}

/** The counts that are there. */
export function entriesOf(counts: TaskCounts["counts"]): [CounterName, number][] {
  return COUNTER_NAMES.flatMap((name): [CounterName, number][] => {
    const count = counts[name];
    return count === undefined ? [] : [[name, count]];
  });
}

/** Counters for one write. Where there are more than it takes, those of the least busy tasks are added up under one name for each lane. */
export function foldCounts(all: readonly TaskCounts[], max: number): Counter[] {
  const total = all.reduce((sum, { counts }) => sum + entriesOf(counts).length, 0);
  if (total <= max) return all.flatMap(countersOf);
  let room = max - LANES.length * COUNTER_NAMES.length;
  const named: TaskCounts[] = [];
  const others = new Map<Lane, TaskCounts>();
  for (const each of [...all].sort((one, other) => busyness(other) - busyness(one))) {
    const size = entriesOf(each.counts).length;
    if (each.task !== OTHER_TASKS && size <= room) {
      named.push(each);
      room -= size;
    } else {
      const other = others.get(each.lane) ?? { lane: each.lane, task: OTHER_TASKS, counts: {} };
      for (const [name, count] of entriesOf(each.counts)) other.counts[name] = (other.counts[name] ?? 0) + count;
      others.set(each.lane, other);
    }
  }
  return [...named, ...others.values()].flatMap(countersOf);
}

function countersOf({ counts, ...place }: TaskCounts): Counter[] {
  return entriesOf(counts).map(([name, count]) => ({ ...place, name, count }));
}

function busyness({ counts }: TaskCounts): number {
  return entriesOf(counts).reduce((sum, [, count]) => sum + count, 0);
}
