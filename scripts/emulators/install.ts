import { spawn } from "node:child_process";
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join, resolve } from "node:path";
import { setTimeout as wait } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const INSTALL_MAX_MS = 600_000;
const COMMAND_MAX_MS = 540_000;

/** Where downloads are kept between runs. */
export function cacheFolder(): string {
  const given = process.env["TASKLANE_EMULATOR_CACHE"];
  return given === undefined || given === ""
    ? fileURLToPath(new URL("../../.cache/emulators/", import.meta.url))
    : resolve(given);
}

/**
 * Installs something once into a folder of the cache, and answers the folder. A second process that wants the same waits for the first;
 * what was left half-way by one that was killed is made anew.
 */
export async function installOnce(name: string, install: (folder: string) => Promise<void>): Promise<string> {
  const folder = join(cacheFolder(), name);
  const done = join(folder, ".installed");
  if (existsSync(done)) return folder;
  mkdirSync(cacheFolder(), { recursive: true });
  const lock = `${folder}.lock`;
  await takeLock(lock);
  try {
    if (existsSync(done)) return folder;
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder);
    await install(folder);
    writeFileSync(done, "");
    return folder;
  } finally {
    rmSync(lock, { force: true });
  }
}

/** The lock is a file with the number of the process that holds it, made whole: a link is there at once, or not at all. */
async function takeLock(lock: string): Promise<void> {
  const mine = `${lock}.${process.pid}-${++waiting}`;
  writeFileSync(mine, String(process.pid));
  const end = Date.now() + INSTALL_MAX_MS;
  try {
    while (!link(mine, lock)) {
      const holder = readHolder(lock);
      if (holder !== undefined && !isAlive(holder)) removeStale(lock, mine);
      if (Date.now() > end) throw new Error(`${lock} is held by process ${holder}: end it, or remove the file`);
      await wait(200);
    }
  } finally {
    rmSync(mine, { force: true });
  }
}

let waiting = 0;

function link(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

/** Moves the lock away before it is removed: by then another may have removed it and taken one of its own, which goes back. */
function removeStale(lock: string, mine: string): void {
  const away = `${mine}.stale`;
  try {
    renameSync(lock, away);
  } catch {
    // Another was faster.
    return;
  }
  const holder = readHolder(away);
  if (holder !== undefined && isAlive(holder)) link(away, lock);
  rmSync(away, { force: true });
}

function readHolder(lock: string): number | undefined {
  try {
    const pid = Number(readFileSync(lock, "utf8"));
    return Number.isInteger(pid) && pid > 0 ? pid : undefined;
  } catch {
    return undefined;
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/** Runs a command to its end. @throws Error with the end of its output, or with what to install if the command is not there */
export function run(command: string, args: readonly string[], cwd: string): Promise<string> {
  return new Promise((done, fail) => {
    const child = spawn(command, args, { cwd, stdio: ["ignore", "pipe", "pipe"], timeout: COMMAND_MAX_MS });
    let output = "";
    const note = (chunk: Buffer): void => {
      output = (output + chunk.toString()).slice(-20_000);
    };
    child.stdout.on("data", note);
    child.stderr.on("data", note);
    child.on("error", (error) => fail(new Error(`${command} cannot be run: ${error.message}. ${adviceFor(command)}`)));
    child.on("close", (status) => {
      if (status === 0) done(output);
      else fail(new Error(`${command} ${args.join(" ")} ended with status ${status}:\n${output.slice(-4_000)}`));
    });
  });
}

function adviceFor(command: string): string {
  if (command.startsWith("python")) return "Install Python 3.11 with its venv module (Debian: python3 python3-venv).";
  if (command === "java") return "Install Java, 17 or later (Debian: openjdk-17-jre-headless).";
  return "Install it, or put it on PATH.";
}
