import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { installOnce, run } from "../../../scripts/emulators/install.ts";

/** No process has this number: Linux counts to 4,194,304. */
const NOBODY = 2 ** 30;
let cache: string;

beforeEach(() => {
  cache = mkdtempSync(join(tmpdir(), "tasklane-cache-"));
  vi.stubEnv("TASKLANE_EMULATOR_CACHE", cache);
});
afterEach(() => {
  vi.unstubAllEnvs();
  rmSync(cache, { recursive: true, force: true });
});

describe("what installs an emulator", () => {
  test("does so once, for all who ask meanwhile and later", async () => {
    let installs = 0;
    const ask = (): Promise<string> =>
      installOnce("thing-1.0", async (folder) => {
        installs++;
        await run("sleep", ["0.3"], folder);
        writeFileSync(join(folder, "thing"), "");
      });
    const folders = await Promise.all([ask(), ask(), ask()]);
    expect(new Set([...folders, await ask()])).toEqual(new Set([join(cache, "thing-1.0")]));
    expect(existsSync(join(cache, "thing-1.0", "thing"))).toBe(true);
    expect(installs).toBe(1);
  });

  test("begins anew after a failure, and after a process that was killed half-way", async () => {
    await expect(installOnce("thing", () => Promise.reject(new Error("no network")))).rejects.toThrow("no network");
    writeFileSync(join(cache, "thing", "half"), "");
    writeFileSync(join(cache, "thing.lock"), String(NOBODY));
    const folder = await installOnce("thing", () => Promise.resolve());
    expect(existsSync(join(folder, "half"))).toBe(false);
    expect(existsSync(join(cache, "thing.lock"))).toBe(false);
  });

  test("says what is missing, and how to get it", async () => {
    vi.stubEnv("PATH", cache);
    await expect(run("java", ["-version"], cache)).rejects.toThrow(/java cannot be run.*Install Java, 17 or later/s);
    await expect(run("python3", ["-V"], cache)).rejects.toThrow(/Install Python 3\.11 with its venv module/);
  });

  test("shows the end of what a failing command printed", async () => {
    const failing = run("sh", ["-c", "echo it is broken >&2; exit 3"], cache);
    await expect(failing).rejects.toThrow(/ended with status 3:\nit is broken/);
  });
});
