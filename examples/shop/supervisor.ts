import { fork } from "node:child_process";
import type { ChildProcess } from "node:child_process";
import { closeSync, openSync } from "node:fs";
import { once } from "node:events";
import { fileURLToPath } from "node:url";
import { outPath } from "./artifacts.ts";

const WORKER_FILE = fileURLToPath(new URL("worker.ts", import.meta.url));
const SUPPLIER_FILE = fileURLToPath(new URL("supplier.ts", import.meta.url));
/** How long a process may take to stop before it is killed. */
const STOP_GRACE_MS = 8_000;
/** After so many ends something else is wrong, and starting again would go on for ever. */
const RESTARTS_MAX = 12;

/** How a worker process ended. */
export interface WorkerExit {
  readonly pid: number | undefined;
  readonly signal: NodeJS.Signals | null;
  readonly code: number | null;
}

/** Worker processes that are started again when they end. */
export interface Supervisor {
  /** Every end of a worker process before `stop` was called. */
  readonly exits: readonly WorkerExit[];
  /** Kills one worker as a power cut would. */
  killOne(): number | undefined;
  /** Asks all workers to finish what they run, and waits until they are gone. */
  stop(): Promise<void>;
}

/** Keeps a number of worker processes running. */
export function superviseWorkers(count: number, env: NodeJS.ProcessEnv): Supervisor {
  const exits: WorkerExit[] = [];
  const running = new Map<number, ChildProcess>();
  let stopping = false;

  function start(slot: number): void {
    const child = forkWithLog(WORKER_FILE, `worker-${slot + 1}`, env);
    running.set(slot, child);
    child.once("exit", (code, signal) => {
      running.delete(slot);
      if (stopping) return;
      exits.push({ pid: child.pid, code, signal });
      if (exits.length <= RESTARTS_MAX) start(slot);
    });
  }
  for (let slot = 0; slot < count; slot += 1) start(slot);

  return {
    exits,
    killOne() {
      const [child] = running.values();
      child?.kill("SIGKILL");
      return child?.pid;
    },
    async stop() {
      stopping = true;
      await Promise.all([...running.values()].map(stopProcess));
    },
  };
}

/** The supplier's process, and where it listens. */
export interface Supplier {
  readonly url: string;
  stop(): Promise<void>;
}

/** Starts the supplier of card payments in a process of its own. */
export async function startSupplier(): Promise<Supplier> {
  const child = forkWithLog(SUPPLIER_FILE, "supplier", process.env);
  const [{ url }] = (await once(child, "message")) as [{ url: string }];
  return { url, stop: () => stopProcess(child) };
}

/** Runs a TypeScript file as a Node process whose output goes to `out/logs`. */
function forkWithLog(file: string, logName: string, env: NodeJS.ProcessEnv): ChildProcess {
  const log = openSync(outPath("logs", `${logName}.log`), "a");
  try {
    return fork(file, { env, stdio: ["ignore", log, log, "ipc"] });
  } finally {
    closeSync(log);
  }
}

async function stopProcess(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = once(child, "exit");
  child.kill("SIGTERM");
  const timer = setTimeout(() => child.kill("SIGKILL"), STOP_GRACE_MS);
  await gone;
  clearTimeout(timer);
}
