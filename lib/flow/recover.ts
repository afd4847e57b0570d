import { within } from "../ports/clock.ts";
import type { StoredDocument } from "../ports/ledger.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Gauges } from "../task/events.ts";
import { parseUntrustedJson } from "../task/json.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import { CLOCK_SKEW_MAX_MS } from "../task/limits.ts";
import { deployedLanes } from "../task/topology.ts";
import { measureDead, measureOwed } from "./gauges.ts";
import { sweepDeadLetters } from "./recover-dead-letters.ts";
import type { Run } from "./recover-run.ts";
import { payOwed } from "./recover-owed.ts";
import type { Cursors } from "./recover-slices.ts";
import { visitSlices } from "./recover-slices.ts";
import type { Services } from "./services.ts";

/** How a run of the scheduler is bounded. */
export interface RecoverOptions {
  /** Names who runs it, so that one of several does. */
  readonly holder: string;
  /** Wall clock time, in milliseconds since 1970, at which the run stops and leaves the rest to the next one. Default: 50 s from now. */
  readonly until?: number | undefined;
  /**
   * Milliseconds after `until` in which what has begun may end; half as long again is for the run to be written down without what has
   * not. Default: what has begun is waited for, since the stores' own timeouts end it.
   */
  readonly graceMs?: number | undefined;
  /** Ends the run early, as `until` does: the host is stopping. */
  readonly signal?: AbortSignal | undefined;
  /** Messages sent again in one run, at most. Default 500: an outage is not answered by a storm. */
  readonly maxResends?: number | undefined;
}

/** What a run did. */
export interface RecoverReport {
  /** Another scheduler had run within the minute, so this one did nothing. */
  readonly skipped: boolean;
  readonly owed: number;
  readonly resent: number;
  readonly visited: number;
  readonly buried: number;
  /** What the run measured; absent if it was skipped, or had no time for it. */
  readonly gauges?: Gauges | undefined;
}

interface SchedulerState {
  holder: string;
  /** Until when the holder may run. */
  until: number;
  /** When the last run began. */
  ranAt: number;
  emptyRuns: Partial<Record<Lane, number>>;
  cursors: Cursors;
}

const DOCUMENT = "scheduler";
const RUN_MAX_MS = 50_000;
/** No run may end later than this from now: the longest that a function can run. */
const RUN_LATEST_MS = 900_000;
/** A run begins no sooner after the last one. */
const RUN_EVERY_MS = 55_000;

/**
 * Makes good what was lost: sends what is owed, finds tasks whose message vanished, and turns foreign dead letters into
 * records. Any host may call it every minute; a lease in the ledger lets one of them work, and two at once do no harm.
 *
 * @throws TasklaneError if the ledger or the queue does not answer; the next run goes on where this one stopped
 */
export async function recover(services: Services, options: RecoverOptions): Promise<RecoverReport> {
  const { clock, backend } = services;
  const now = clock.now();
  const stored = await backend.ledger.readDocument(DOCUMENT);
  const state = readState(stored);
  if (isTaken(state, now)) return { skipped: true, owed: 0, resent: 0, visited: 0, buried: 0 };
  const until = options.until ?? now + RUN_MAX_MS;
  const mine: SchedulerState = { ...state, holder: options.holder, until, ranAt: now };
  if (!(await backend.ledger.writeDocument(DOCUMENT, JSON.stringify(mine), stored.version)))
    return { skipped: true, owed: 0, resent: 0, visited: 0, buried: 0 };
  const backlog = await countBacklog(services);
  const emptyRuns = countEmptyRuns(state, backlog);
  const run: Run = {
    get until() {
      return options.signal?.aborted === true ? 0 : until;
    },
    resendsLeft: options.maxResends ?? 500,
    owed: 0,
    resent: 0,
    visited: 0,
    buried: 0,
    emptyRuns,
    oldestOwed: new Map(),
  };
  // One step that fails or does not end must not keep the others from their work, nor the run from being noted.
  const errors: unknown[] = [];
  const attempt = <Result>(step: Promise<Result>, graces = 1): Promise<Result | undefined> => {
    const lateMs = Math.max(0, until - clock.now()) + (options.graceMs ?? 0) * graces;
    const ended = options.graceMs === undefined ? step : within(clock, step, lateMs, () => overdue(until - now));
    return ended.catch((error: unknown) => void errors.push(error));
  };
  // Beside the work and not behind it: a run that does not get through its work is the one whose gauges matter.
  const measuring = now < run.until ? attempt(measureDead(services)) : undefined;
  await attempt(payOwed(services, run));
  const dead = await measuring;
  const oldestOwedMs = dead === undefined ? undefined : await attempt(measureOwed(services, run, now));
  const cursors = { ...state.cursors };
  await attempt(visitSlices(services, run, cursors));
  await attempt(sweepDeadLetters(services, run));
  const done: SchedulerState = { ...mine, until: 0, emptyRuns: Object.fromEntries(emptyRuns), cursors };
  const noting = backend.ledger.writeDocument(DOCUMENT, JSON.stringify(done), stored.version + 1);
  await attempt(noting, 0.5);
  const { owed, resent, visited, buried } = run;
  const gauges: Gauges | undefined =
    dead === undefined || oldestOwedMs === undefined
      ? undefined
      : { ...dead, oldestOwedMs, backlog: Object.fromEntries(backlog) };
  services.emit({ type: "scheduler-ran", owed, resent, visited, buried, failures: errors.length, gauges });
  if (errors.length > 0) throw errors[0];
  return { skipped: false, owed, resent, visited, buried, gauges };
}

function overdue(runMs: number): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", {
    what: "A run of the scheduler had no more time for a store's answer",
    received: `none within its ${runMs} ms and the grace`,
    fix: "none is needed if it is rare: the next run goes on; else look at why the table or the queues answer slowly",
  });
}

/** Times beyond what an honest clock can have written are those of a host whose clock is ahead: they stop nobody. */
function isTaken({ until, ranAt }: SchedulerState, now: number): boolean {
  const running = until > now && until <= now + RUN_LATEST_MS;
  const ranLately = now - ranAt < RUN_EVERY_MS && ranAt <= now + CLOCK_SKEW_MAX_MS;
  return running || ranLately;
}

/** What SQS counts in each lane. */
async function countBacklog({ backend }: Services): Promise<ReadonlyMap<Lane, number>> {
  const lanes = deployedLanes(backend.topology);
  const depths = await Promise.all(lanes.map((lane) => backend.queue.depth({ lane })));
  return new Map(
    lanes.map((lane, place) => {
      const { visible = 0, delayed = 0, inFlight = 0 } = depths[place] ?? {};
      return [lane, visible + delayed + inFlight];
    }),
  );
}

/** A lane is empty if SQS counts nothing in it. The counts are approximate, which is why two runs in a row have to agree. */
function countEmptyRuns(state: SchedulerState, backlog: ReadonlyMap<Lane, number>): ReadonlyMap<Lane, number> {
  return new Map([...backlog].map(([lane, count]) => [lane, count === 0 ? (state.emptyRuns[lane] ?? 0) + 1 : 0]));
}

function readState(stored: StoredDocument): SchedulerState {
  const fresh: SchedulerState = { holder: "", until: 0, ranAt: 0, emptyRuns: {}, cursors: {} };
  const parsed = stored.version === 0 ? undefined : parseUntrustedJson(stored.value, 100_000);
  if (parsed?.ok !== true || typeof parsed.value !== "object" || parsed.value === null || Array.isArray(parsed.value))
    return fresh;
  const { holder, until, ranAt, emptyRuns, cursors } = parsed.value;
  return {
    holder: typeof holder === "string" ? holder : "",
    until: typeof until === "number" ? until : 0,
    ranAt: typeof ranAt === "number" ? ranAt : 0,
    emptyRuns: numbersOf(emptyRuns, LANES),
    cursors: numbersOf(cursors, cursors !== null && typeof cursors === "object" ? Object.keys(cursors) : []),
  };
}

function numbersOf<Key extends string>(value: unknown, keys: readonly Key[]): Partial<Record<Key, number>> {
  const numbers: Partial<Record<Key, number>> = {};
  if (typeof value !== "object" || value === null) return numbers;
  for (const key of keys) {
    const number: unknown = Reflect.get(value, key);
    if (typeof number === "number") numbers[key] = number;
  }
  return numbers;
}
