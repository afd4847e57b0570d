import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { closeSync, existsSync, openSync, readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { setTimeout as wait } from "node:timers/promises";

/** How long a server may take to answer. */
const READY_MAX_MS = 90_000;
const STOP_MAX_MS = 8_000;

/** What starts a server. */
export interface ServerOptions {
  readonly command: string;
  readonly args: readonly string[];
  readonly cwd: string;
  readonly environment: Readonly<Record<string, string | undefined>>;
  /** Where its output goes. */
  readonly log: string;
  /** Resolves true once the server answers; a rejection counts as "not yet". */
  isReady(): Promise<boolean>;
}

/** A server of ours, with everything it started. */
export interface RunningServer {
  stop(): Promise<void>;
}

const running = new Set<ChildProcess>();

/** Starts a server in a process group of its own, and waits until it answers. @throws Error with the end of its log */
export async function startServer(options: ServerOptions): Promise<RunningServer> {
  const log = openSync(options.log, "w");
  const child = spawn(options.command, options.args, {
    cwd: options.cwd,
    env: dropUndefined(options.environment),
    stdio: ["ignore", log, log],
    detached: true,
  });
  closeSync(log);
  let ended: string | undefined;
  child.on("error", (error) => (ended = error.message));
  child.on("exit", (status, signal) => {
    ended = `ended with ${signal ?? `status ${status}`}`;
    running.delete(child);
  });
  running.add(child);
  endWithUs();
  const end = Date.now() + READY_MAX_MS;
  while (ended === undefined && Date.now() < end) {
    if (await options.isReady().catch(() => false)) return { stop: () => stop(child) };
    await wait(150);
  }
  await stop(child);
  throw new Error(
    `${options.command} ${ended ?? `does not answer after ${READY_MAX_MS / 1_000} s`}; the end of ${options.log}:\n${readFileSync(options.log, "utf8").slice(-4_000)}`,
  );
}

/** A port on 127.0.0.1 that nobody listens on. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once("error", reject);
    server.listen(0, "127.0.0.1", () => {
      const address = server.address();
      server.close(() => resolve(typeof address === "object" && address !== null ? address.port : 0));
    });
  });
}

async function stop(child: ChildProcess): Promise<void> {
  const { pid } = child;
  if (pid === undefined) return;
  // Some of them lead groups of their own, and would outlive a server that is killed.
  const others = listDescendants(pid);
  signalGroup(pid, "SIGTERM");
  const end = Date.now() + STOP_MAX_MS;
  // The group lives on while functions that the server started do.
  while ((isGroupAlive(pid) || others.some(isGroupAlive)) && Date.now() < end) await wait(50);
  for (const one of [pid, ...others]) signalGroup(one, "SIGKILL");
}

/** The processes below one, where the system tells: on Linux. */
function listDescendants(root: number): number[] {
  if (!existsSync("/proc/self/stat")) return [];
  const children = new Map<number, number[]>();
  for (const entry of readdirSync("/proc")) {
    const parent = /^\d+$/.test(entry) ? readParent(entry) : undefined;
    if (parent !== undefined) children.set(parent, [...(children.get(parent) ?? []), Number(entry)]);
  }
  const found: number[] = [];
  for (let todo = children.get(root) ?? []; todo.length > 0; todo = todo.flatMap((pid) => children.get(pid) ?? []))
    found.push(...todo);
  return found;
}

function readParent(pid: string): number | undefined {
  try {
    // After the name, which stands in parentheses and may hold anything, come the state and the parent.
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    return Number(stat.slice(stat.lastIndexOf(")") + 2).split(" ")[1]);
  } catch {
    // It has ended meanwhile.
    return undefined;
  }
}

function signalGroup(pid: number, signal: NodeJS.Signals): void {
  try {
    process.kill(-pid, signal);
  } catch {
    // Nobody is left in the group.
  }
}

function isGroupAlive(pid: number): boolean {
  try {
    process.kill(-pid, 0);
    return true;
  } catch {
    return false;
  }
}

let listening = false;

/** A run that is ended half-way leaves no server behind. */
function endWithUs(): void {
  if (listening) return;
  listening = true;
  process.on("exit", () => {
    for (const { pid } of running)
      if (pid !== undefined) for (const one of [...listDescendants(pid), pid]) signalGroup(one, "SIGKILL");
  });
  for (const signal of ["SIGTERM", "SIGHUP"] as const)
    process.once(signal, () => {
      void Promise.all([...running].map(stop)).then(() => process.kill(process.pid, signal));
    });
}

function dropUndefined(environment: Readonly<Record<string, string | undefined>>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(environment).filter((entry): entry is [string, string] => entry[1] !== undefined),
  );
}
