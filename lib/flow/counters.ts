import type { Clock, Random, Timer } from "../ports/clock.ts";
import { waitAtMost } from "../ports/clock.ts";
import type { Ledger } from "../ports/ledger.ts";
import type { CounterName } from "../task/counters.ts";
import { MINUTE_MS, minuteOf, OTHER_TASKS } from "../task/counters.ts";
import type { EventListener, TasklaneEvent } from "../task/events.ts";
import { COUNTER_RETENTION_MS, COUNTERS_PER_WRITE_MAX } from "../task/limits.ts";
import type { TaskCounts } from "./counters-fold.ts";
import { entriesOf, foldCounts } from "./counters-fold.ts";

/** What counters are written with. */
export interface CountersParts {
  readonly ledger: Pick<Ledger, "addCounters">;
  readonly clock: Clock;
  readonly random: Random;
}

/** Lanes and names that are kept apart until they are written; more of them are somebody's mischief. */
const APART_MAX = 1_000;
/** What is counted this long after the first count that waits to be written is a minute of its own: a function may have slept between. */
const BATCH_MAX_MS: number = 2 * MINUTE_MS;
/** Minutes that wait to be written while the ledger takes none; beyond that the oldest are added up. */
const BATCHES_MAX = 10;

/** Counts that are written under one minute. */
interface Batch {
  /** When the first of them was counted. */
  readonly minute: number;
  readonly counts: Map<string, TaskCounts>;
}

/**
 * Counts what a host's events tell, and adds it to the ledger's counters at most once a minute. Whoever counts nothing writes
 * nothing. No count is worth a task: a write that fails is made up for by the next one, and one that was not answered may
 * count twice.
 *
 * ```ts
 * const counters = new Counters(connection, onEvent);
 * const services = makeServices({ ...connection, onEvent: counters.listener });
 * // a function, at the end of an invocation; a process calls counters.start() once, and counters.stop() at its end
 * if (counters.due()) await counters.flush();
 * ```
 */
export class Counters {
  /** Takes events in, and hands each on to the listener given. */
  readonly listener: EventListener;
  readonly #parts: CountersParts;
  readonly #next: EventListener | undefined;
  /** What is not written yet, what was counted first before the rest. */
  #batches: Batch[] = [];
  #flushedAt = Number.NEGATIVE_INFINITY;
  #timed = false;
  #timer: Timer | undefined;
  #writing: Promise<void> | undefined;

  constructor(parts: CountersParts, next?: EventListener) {
    this.#parts = parts;
    this.#next = next;
    this.listener = (event) => {
      for (const name of countedBy(event)) if ("task" in event && "lane" in event) this.#add(event, name, 1);
      this.#setTimer();
      return next?.(event);
    };
  }

  /** Writes by itself from now on, within 75 s of what it counts. */
  start(): void {
    this.#timed = true;
    this.#setTimer();
  }

  /** Writes what there is, and nothing by itself from then on. Takes no longer than so many milliseconds. */
  async stop(withinMs: number): Promise<void> {
    this.#timed = false;
    this.#timer?.cancel();
    const last = async (): Promise<void> => {
      await this.#writing;
      await this.flush();
    };
    await waitAtMost(this.#parts.clock, last(), withinMs);
  }

  /** Whether there is something to write, and a minute has passed since the last write. */
  due(): boolean {
    // A clock that was set back must not stop it for long.
    return this.#batches.length > 0 && Math.abs(this.#parts.clock.now() - this.#flushedAt) >= MINUTE_MS;
  }

  /** Writes what there is, in one write for each minute that is left. Never throws. */
  flush(): Promise<void> {
    this.#writing ??= this.#write().finally(() => {
      this.#writing = undefined;
      this.#setTimer();
    });
    return this.#writing;
  }

  async #write(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    const { clock, ledger } = this.#parts;
    const left = this.#batches;
    if (left.length === 0) return;
    this.#batches = [];
    this.#flushedAt = clock.now();
    try {
      for (let batch = left[0]; batch !== undefined; left.shift(), batch = left[0]) {
        const counters = foldCounts([...batch.counts.values()], COUNTERS_PER_WRITE_MAX);
        await ledger.addCounters(batch.minute, counters, batch.minute + COUNTER_RETENTION_MS);
      }
    } catch (error) {
      this.#batches = joinOldest([...left, ...this.#batches]);
      this.#tell({ type: "counters-failed", at: clock.now(), error: String(error) });
    }
  }

  #add(place: Place, name: CounterName, count: number): void {
    const minute = minuteOf(this.#parts.clock.now());
    let batch = this.#batches.at(-1);
    if (batch === undefined || Math.abs(minute - batch.minute) >= BATCH_MAX_MS)
      this.#batches.push((batch = { minute, counts: new Map() }));
    addTo(batch, place, name, count);
  }

  /** Hosts that started together must not all write in the same second of each minute. */
  #setTimer(): void {
    if (!this.#timed || this.#timer !== undefined || this.#writing !== undefined || this.#batches.length === 0) return;
    const { clock, random } = this.#parts;
    this.#timer = clock.timer(MINUTE_MS * (1 + random.next() / 4), () => void this.flush());
  }

  #tell(event: TasklaneEvent): void {
    try {
      const answer: unknown = this.#next?.(event);
      if (answer instanceof Promise) answer.catch(() => undefined);
    } catch {
      // The listener's own affair.
    }
  }
}

/** What a count belongs to. */
type Place = Pick<TaskCounts, "lane" | "task">;

function addTo(batch: Batch, { lane, task }: Place, name: CounterName, count: number): void {
  const { counts } = batch;
  const key = `${lane} ${task}`;
  if (!counts.has(key) && task !== OTHER_TASKS && counts.size >= APART_MAX)
    return addTo(batch, { lane, task: OTHER_TASKS }, name, count);
  const known: TaskCounts = counts.get(key) ?? { lane, task, counts: {} };
  known.counts[name] = (known.counts[name] ?? 0) + count;
  counts.set(key, known);
}

/** Adds up the oldest of too many batches. */
function joinOldest(batches: readonly Batch[]): Batch[] {
  const surplus = batches.slice(0, Math.max(0, batches.length - BATCHES_MAX));
  const kept = batches.slice(surplus.length);
  const [oldest] = kept;
  if (oldest !== undefined)
    for (const { counts, ...place } of surplus.flatMap((batch) => [...batch.counts.values()]))
      for (const [name, count] of entriesOf(counts)) addTo(oldest, place, name, count);
  return kept;
}

/** What an event counts as. */
function countedBy(event: TasklaneEvent): readonly CounterName[] {
  switch (event.type) {
    case "attempt-started":
      return ["started"];
    case "attempt-ended":
      return COUNTED_OUTCOMES[event.outcome] ?? [];
    case "dead":
    case "deferred":
      return [event.type];
    case "crash-detected":
      return ["crashed"];
    default:
      return [];
  }
}

/** `dead` is counted by its own event, which also tells of tasks that die without an attempt. */
const COUNTED_OUTCOMES: Readonly<Record<string, readonly CounterName[] | undefined>> = {
  succeeded: ["succeeded"],
  retry: ["failed", "retried"],
  dead: ["failed"],
  snooze: ["snoozed"],
};
