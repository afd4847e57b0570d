import { styleText } from "node:util";
import type { TaskState } from "../../lib/index.ts";
import { followJournal } from "./journals.ts";
import type { EventEntry } from "./journals.ts";

/** How far the run is, as the journals tell it. */
export interface Standing {
  /** Tasks in a final state. */
  readonly done: number;
  /** Messages recorded as dead that were never a task. */
  readonly buried: number;
  readonly attempts: number;
  readonly retries: number;
}

/** A task as the ledger or an event knows it. */
interface KnownTask {
  readonly id: string;
  readonly task: string;
  readonly state: TaskState;
}

/** Follows the journals, and keeps in mind which tasks have ended. */
export interface RunFollower {
  refresh(): Standing;
  /** Tasks that were enqueued and of which no end was heard. */
  pending(): string[];
  /** Notes what the ledger says, in case no journal told: a killed worker may settle a task and can no longer say so. */
  noteEnd(task: KnownTask): void;
}

/** What the ledger calls the task of a message that nobody can read. */
const UNKNOWN_TASK = "unknown";

/** Follows a run from its journals; a dead task of the kind that is `redriven` has not ended yet. */
export function followRun({ redriven }: { redriven: string }): RunFollower {
  const newEnqueues = followJournal("enqueues");
  const newEvents = followJournal("events");
  const enqueued = new Set<string>();
  const ended = new Set<string>();
  const buried = new Set<string>();
  const counts = { attempts: 0, retries: 0 };

  function noteEnd({ id, task, state }: KnownTask): void {
    if (task === UNKNOWN_TASK) buried.add(id);
    else if (state === "succeeded" || (state === "dead" && task !== redriven)) ended.add(id);
  }

  function noteEvent(event: EventEntry): void {
    switch (event.type) {
      case "attempt-started":
        counts.attempts += 1;
        break;
      case "dead":
        noteEnd({ id: event.taskId, task: event.task, state: "dead" });
        break;
      case "attempt-ended":
        if (event.outcome === "retry") counts.retries += 1;
        if (event.outcome === "succeeded") noteEnd({ id: event.taskId, task: event.task, state: "succeeded" });
        break;
      default:
    }
  }

  return {
    noteEnd,
    refresh() {
      for (const { taskId } of newEnqueues()) enqueued.add(taskId);
      for (const event of newEvents()) noteEvent(event);
      return { ...counts, done: ended.size, buried: buried.size };
    },
    pending: () => [...enqueued].filter((taskId) => !ended.has(taskId)),
  };
}

/** Bar and figures fit 80 columns: a longer line would wrap, and could not be drawn over. */
const BAR_WIDTH = 16;
const LINE_EACH_MS = 2_000;

/** A bar on a terminal, a line every two seconds elsewhere, and a line for each thing worth telling. */
export interface ProgressScreen {
  draw(standing: Standing, workersLost: number): void;
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
    draw({ done, attempts, retries }, workersLost) {
      const figures = `${done}/${total} tasks, ${attempts} starts, ${retries} retries, ${workersLost} ${workersLost === 1 ? "worker" : "workers"} lost`;
      if (out.isTTY) {
        const filled = Math.min(BAR_WIDTH, Math.floor((done / total) * BAR_WIDTH));
        const bar =
          styleText("green", "█".repeat(filled), { stream: out }) +
          styleText("gray", "░".repeat(BAR_WIDTH - filled), { stream: out });
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
