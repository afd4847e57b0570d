import { styleText } from "node:util";
import { followJournal } from "./journals.ts";

/** How far the run is, as the journals tell it. */
export interface Standing {
  /** Tasks in a final state. */
  readonly done: number;
  readonly attempts: number;
  readonly retries: number;
  readonly crashes: number;
}

/** Follows the journals, and keeps in mind which tasks have ended. */
export interface RunFollower {
  refresh(): Standing;
  /** Tasks that were enqueued and of which no end was heard. */
  pending(): string[];
  /** Notes an end that the ledger knows and no journal told: a killed worker settles and can no longer say so. */
  noteEnd(taskId: string, state: string): void;
}

/**
 * Follows a run from its journals.
 *
 * @param mended tasks that are given another life when they die, and so have ended only when they succeeded
 */
export function followRun(mended: ReadonlySet<string>): RunFollower {
  const newEnqueues = followJournal("enqueues");
  const newEvents = followJournal("events");
  const known = new Set<string>();
  const ends = new Map<string, string>();
  const counts = { attempts: 0, retries: 0, crashes: 0 };

  const hasEnded = (taskId: string): boolean => {
    const end = ends.get(taskId);
    return mended.has(taskId) ? end === "succeeded" : end !== undefined;
  };
  const noteEnd = (taskId: string, state: string): void => {
    if (ends.get(taskId) !== "succeeded") ends.set(taskId, state);
  };

  return {
    noteEnd,
    refresh() {
      for (const { taskId } of newEnqueues()) known.add(taskId);
      for (const event of newEvents()) {
        if (event.type === "attempt-started") counts.attempts += 1;
        else if (event.type === "crash-detected") counts.crashes += 1;
        else if (event.type === "dead") noteEnd(event.taskId, "dead");
        else if (event.type === "attempt-ended") {
          if (event.outcome === "retry") counts.retries += 1;
          else if (event.outcome === "succeeded") noteEnd(event.taskId, "succeeded");
        }
      }
      return { ...counts, done: [...ends.keys()].filter(hasEnded).length };
    },
    pending: () => [...known].filter((taskId) => !hasEnded(taskId)),
  };
}

const BAR_WIDTH = 32;
const LINE_EACH_MS = 2_000;

/** A bar on a terminal, a line every two seconds elsewhere, and a line for each thing worth telling. */
export interface ProgressScreen {
  draw(standing: Standing): void;
  say(text: string): void;
  end(): void;
}

/** Shows how far `total` tasks are, on standard error: standard output is for the report. */
export function createProgressScreen(total: number): ProgressScreen {
  const out = process.stderr;
  const startedAtMs = performance.now();
  let lineDueMs = 0;
  const clock = (): string => `${((performance.now() - startedAtMs) / 1000).toFixed(1).padStart(5)} s`;
  const clearBar = (): void => void (out.isTTY && out.write("\r\u001b[K"));

  return {
    draw({ done, attempts, retries, crashes }) {
      const figures = `${done} of ${total} tasks, ${attempts} starts, ${retries} retries, ${crashes} crashes`;
      if (out.isTTY) {
        const filled = Math.min(BAR_WIDTH, Math.floor((done / total) * BAR_WIDTH));
        const bar = styleText("green", "█".repeat(filled)) + styleText("gray", "░".repeat(BAR_WIDTH - filled));
        clearBar();
        out.write(`${clock()} ${bar} ${figures}`);
      } else if (performance.now() - startedAtMs >= lineDueMs) {
        lineDueMs += LINE_EACH_MS;
        out.write(`${clock()}  ${figures}\n`);
      }
    },
    say(text) {
      clearBar();
      out.write(`${clock()}  ${text}\n`);
    },
    end: clearBar,
  };
}
