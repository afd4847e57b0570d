import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

/** Where the demo leaves everything it makes. */
export const OUT_DIR: string = fileURLToPath(new URL("out", import.meta.url));

/** A path below `out/`. */
export function outPath(...parts: string[]): string {
  return join(OUT_DIR, ...parts);
}

/** Starts with an empty folder, so that the proof at the end is about this run, and this one alone. */
export function emptyOut(): void {
  const other = runningDemo();
  if (other !== undefined) throw new Error(`Another demo (process ${other}) writes to ${OUT_DIR}: let it end first`);
  rmSync(OUT_DIR, { recursive: true, force: true });
  for (const folder of ["photos", "invoices", "receipts", "thumbnails", "export", "logs"]) {
    mkdirSync(outPath(folder), { recursive: true });
  }
  writeFileSync(outPath("demo.pid"), String(process.pid));
}

/** The process that `demo.pid` names, if it is there and alive. */
function runningDemo(): number | undefined {
  try {
    const pid = Number(readFileSync(outPath("demo.pid"), "utf8"));
    process.kill(pid, 0);
    return pid;
  } catch {
    return undefined;
  }
}

/**
 * Writes a file so that a reader sees all of it or none of it, even when the process is killed in between.
 * Two attempts of one task may do this at the same time: the process id tells their temporary files apart.
 */
export function writeWhole(path: string, bytes: Uint8Array | string): void {
  const temporary = `${path}.${process.pid}.tmp`;
  writeFileSync(temporary, bytes);
  renameSync(temporary, path);
}
