import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { onTestFinished } from "vitest";
import type { TaskDetails, TasklaneClient, Topology } from "../../lib/index.ts";
import { startLocal } from "../../lib/testing/index.ts";
import type { FleetOptions } from "./fleet.ts";
import { Fleet } from "./fleet.ts";
import type { Effect, Report } from "./journal.ts";
import { Journal } from "./journal.ts";
import { gatePath } from "./tasks.ts";
import type { WorkerSettings } from "./worker-settings.ts";

/** Lease and skew of the workers: a crash is found after 3 s, since SQS hides a message for whole seconds. */
export const LEASE_MS = 1_500;
const LEASE: Pick<WorkerSettings, "lease" | "clockSkew"> = { lease: `${LEASE_MS}ms`, clockSkew: "300ms" };
/** A worker that polls for nothing while its one handler runs: what comes then goes to another. */
export const ONE_AT_A_TIME: Partial<WorkerSettings> = { lanes: ["normal"], concurrency: 1 };
const POLL_MS = 15;
const TAIL_LINES = 400;

/** How the workers of a test behave. */
export interface StageOptions extends Pick<FleetOptions, "probeMs"> {
  /** What differs from a lease of 1.5 s, 4 handlers at once and all lanes. `undefined` leaves the slot empty. */
  readonly worker?: ((slot: number, life: number) => Partial<WorkerSettings> | undefined) | undefined;
}

/** A queue on the embedded stack, with worker processes that can be killed, and what they leave behind. */
export interface Stage {
  readonly client: TasklaneClient;
  readonly topology: Topology;
  readonly fleet: Fleet;
  readonly effects: Journal<Effect>;
  readonly reports: Journal<Report>;
  /** Lets an attempt of a gated task go on. */
  openGate(gate: string, attempt: number): Promise<void>;
  /** Every task of the ledger, by its id. */
  tasks(): Promise<Map<string, TaskDetails>>;
  /** Waits until no task is queued or running any more. */
  settled(count: number, withinMs: number): Promise<Map<string, TaskDetails>>;
}

/** Sets a stage that is cleared when the test ends, however it ends. */
export async function setStage(options: StageOptions = {}): Promise<Stage> {
  const dir = await mkdtemp(join(tmpdir(), "tasklane-crash-"));
  const paths = { effectsPath: join(dir, "effects.jsonl"), reportsPath: join(dir, "reports.jsonl") };
  const logPath = join(dir, "workers.log");
  const effects = new Journal<Effect>(paths.effectsPath);
  const reports = new Journal<Report>(paths.reportsPath);
  // What is set up last is cleared first.
  onTestFinished(async () => {
    effects.close();
    reports.close();
    await rm(dir, { recursive: true, force: true });
  });
  const local = await startLocal();
  onTestFinished(() => local.close());
  const { client, topology, env } = local;
  const fleet = new Fleet({
    dir,
    logPath,
    env: { ...env, PATH: process.env["PATH"] ?? "" },
    probeMs: options.probeMs,
    settingsOf(slot, life) {
      const own = options.worker === undefined ? {} : options.worker(slot, life);
      return own === undefined ? undefined : { ...LEASE, ...paths, dir, concurrency: 4, ...own };
    },
  });
  onTestFinished(async ({ task }) => {
    await fleet.close();
    if (task.result?.state !== "fail") return;
    const log = await readFile(logPath, "utf8").catch(() => "");
    console.log(`effects:\n${tail(effects)}\nreports:\n${tail(reports)}\nworkers:\n${log}`);
  });

  const tasks = async (): Promise<Map<string, TaskDetails>> => {
    const found = new Map<string, TaskDetails>();
    for await (const task of client.list()) found.set(task.id, task);
    return found;
  };
  return {
    client,
    topology,
    fleet,
    effects,
    reports,
    openGate: (gate, attempt) => writeFile(gatePath(dir, gate, attempt), ""),
    tasks,
    settled: async (count, withinMs) => {
      let found = new Map<string, TaskDetails>();
      const open = (): TaskDetails[] =>
        [...found.values()].filter(({ state }) => state === "queued" || state === "running");
      const isSettled = async (): Promise<boolean> => {
        found = await tasks();
        return found.size >= count && open().length === 0;
      };
      const what = (): string =>
        `${count} tasks in a final state (of ${found.size} there are open ${JSON.stringify(open())})`;
      await until(isSettled, what, { withinMs, everyMs: 250 });
      return found;
    },
  };
}

/** Asks again and again until there is an answer, and fails if none comes within the bound. */
export async function until<Answer>(
  ask: () => Answer | undefined | false | Promise<Answer | undefined | false>,
  what: string | (() => string),
  { withinMs, everyMs = POLL_MS }: { withinMs: number; everyMs?: number },
): Promise<Answer> {
  const deadline = performance.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined && answer !== false) return answer;
    if (performance.now() > deadline)
      throw new Error(`${typeof what === "string" ? what : what()}: not within ${withinMs} ms`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}

function tail(journal: Journal<unknown>): string {
  return journal
    .lines()
    .slice(-TAIL_LINES)
    .map((line) => JSON.stringify(line))
    .join("\n");
}
