import type { ChildProcess } from "node:child_process";
import { fork } from "node:child_process";
import { once } from "node:events";
import { closeSync, openSync } from "node:fs";
import { fileURLToPath } from "node:url";
import type { WorkerSettings } from "./worker-settings.ts";

const WORKER_FILE = fileURLToPath(new URL("worker.ts", import.meta.url));
/** After so many restarts something else is wrong. */
const RESTARTS_MAX = 60;

/** How a worker process ended. */
export interface WorkerExit {
  readonly slot: number;
  readonly pid: number;
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What a fleet is made of. */
export interface FleetOptions {
  readonly dir: string;
  readonly logPath: string;
  readonly env: Readonly<Record<string, string>>;
  /** How the process of a slot behaves; `life` counts its restarts from 0. `undefined` leaves the slot empty from then on. */
  readonly settingsOf: (slot: number, life: number) => WorkerSettings | undefined;
  /** Kills a process whose event loop did not turn for so long, as a liveness probe does. Default: never. */
  readonly probeMs?: number | undefined;
}

interface Member {
  readonly slot: number;
  readonly life: number;
  readonly child: ChildProcess;
  aliveAt: number | undefined;
}

/** Real worker processes under a supervisor that starts those anew that end without having been asked to. */
export class Fleet {
  /** In the order in which they ended. */
  readonly exits: WorkerExit[] = [];
  /** Processes that `kill` killed. */
  readonly killed = new Set<number>();
  /** Processes that `pause` has ever stopped. */
  readonly paused = new Set<number>();
  /** How often `pause` was called. */
  pauses = 0;
  /** Processes that the liveness probe killed. */
  readonly probed = new Set<number>();
  readonly #options: FleetOptions;
  readonly #members = new Map<number, Member>();
  readonly #asked = new Set<number>();
  readonly #probe: NodeJS.Timeout | undefined;
  readonly #onExit = (): void => this.#killAll();
  #closed = false;

  constructor(options: FleetOptions) {
    this.#options = options;
    // Whatever ends this process, no worker is left behind.
    process.once("exit", this.#onExit);
    const { probeMs } = options;
    if (probeMs !== undefined) this.#probe = setInterval(() => this.#probeAll(probeMs), probeMs / 10);
  }

  /** Starts a process in each of these slots. */
  start(...slots: number[]): void {
    for (const slot of slots) this.#spawn(slot, 0);
  }

  /** The processes that run now. */
  get pids(): number[] {
    return [...this.#members.values()].flatMap(({ child }) => child.pid ?? []);
  }

  /** The process in a slot. */
  pidOf(slot: number): number {
    const pid = this.#members.get(slot)?.child.pid;
    if (pid === undefined) throw new Error(`no process runs in slot ${slot}`);
    return pid;
  }

  /** As a power cut would: the process gets no say. */
  kill(pid: number): void {
    this.killed.add(pid);
    this.#send(pid, "SIGKILL");
  }

  /** Stops the whole process, timers and all, until `resume`. */
  pause(pid: number): void {
    this.paused.add(pid);
    this.pauses++;
    this.#send(pid, "SIGSTOP");
  }

  resume(pid: number): void {
    this.#send(pid, "SIGCONT");
  }

  /** Asks processes to end, and answers how they did. They are not started anew. */
  async terminate(pids: readonly number[] = this.pids): Promise<WorkerExit[]> {
    const members = [...this.#members.values()].filter(({ child }) => pids.includes(child.pid ?? 0));
    const gone = members.map(({ child }) => {
      const { pid } = child;
      if (pid !== undefined) this.#asked.add(pid);
      const exit = once(child, "exit");
      child.kill("SIGTERM");
      return exit;
    });
    await Promise.all(gone);
    return this.exits.filter(({ pid }) => pids.includes(pid));
  }

  /** Ends that nobody asked for and no test caused. */
  get surprises(): WorkerExit[] {
    const { killed, probed } = this;
    return this.exits.filter(({ pid }) => !killed.has(pid) && !probed.has(pid) && !this.#asked.has(pid));
  }

  /** Kills whatever is left, stopped processes too, and waits until they are gone. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#probe);
    const gone = [...this.#members.values()].map(({ child }) => once(child, "exit"));
    this.#killAll();
    await Promise.all(gone);
    process.off("exit", this.#onExit);
  }

  #spawn(slot: number, life: number): void {
    const { dir, env, logPath, settingsOf } = this.#options;
    const settings = settingsOf(slot, life);
    if (settings === undefined) return;
    const log = openSync(logPath, "a");
    const child = fork(WORKER_FILE, {
      execPath: process.execPath,
      execArgv: [],
      // What a process leaves behind when it aborts goes with the directory.
      cwd: dir,
      env: { ...env, CRASH_WORKER: JSON.stringify(settings) },
      stdio: ["ignore", log, log, "ipc"],
    });
    closeSync(log);
    const member: Member = { slot, life, child, aliveAt: undefined };
    this.#members.set(slot, member);
    child.on("message", () => {
      member.aliveAt = performance.now();
    });
    child.on("error", () => undefined);
    child.once("exit", (code, signal) => this.#onMemberExit(member, code, signal));
  }

  #onMemberExit({ slot, life, child }: Member, code: number | null, signal: NodeJS.Signals | null): void {
    const pid = child.pid ?? 0;
    this.exits.push({ slot, pid, code, signal });
    this.#members.delete(slot);
    if (!this.#closed && !this.#asked.has(pid) && this.exits.length <= RESTARTS_MAX) this.#spawn(slot, life + 1);
  }

  #probeAll(probeMs: number): void {
    for (const { child, aliveAt } of this.#members.values()) {
      if (aliveAt === undefined || performance.now() - aliveAt < probeMs || child.pid === undefined) continue;
      this.probed.add(child.pid);
      child.kill("SIGKILL");
    }
  }

  #send(pid: number, signal: NodeJS.Signals): void {
    for (const { child } of this.#members.values()) if (child.pid === pid) child.kill(signal);
  }

  #killAll(): void {
    for (const { child } of this.#members.values()) child.kill("SIGKILL");
  }
}
