import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import { App, Stack } from "aws-cdk-lib";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { WORKER_ENTRY } from "./support/synth.ts";

const folder = mkdtempSync(join(tmpdir(), "tasklane-bundling-"));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

/** Runs a module by itself, as Lambda's runtime does, and tells what it exports. */
function exportsOf(file: string): { status: number | null; stdout: string; stderr: string } {
  const code = `import(${JSON.stringify(pathToFileURL(file).href)}).then((m) => console.log(Object.keys(m), typeof m.handler))`;
  const env = { PATH: process.env["PATH"], TASKLANE_TOPOLOGY: "{}", AWS_REGION: "eu-central-1" };
  return spawnSync(process.execPath, ["-e", code], { cwd: folder, encoding: "utf8", env });
}

describe("the code that is deployed", () => {
  const out = join(folder, "out");
  let assets: Record<string, string> = {};

  beforeAll(() => {
    const app = new App({ outdir: out });
    new TaskQueue(new Stack(app, "Shop"), "Tasks", { workerEntry: WORKER_ENTRY, lanes: ["normal"] });
    app.synth();
    const modules = readdirSync(out, { recursive: true, encoding: "utf8" }).filter((file) =>
      file.endsWith("index.mjs"),
    );
    assets = Object.fromEntries(
      modules.map((file) => [existsSync(join(out, `${file}.map`)) ? "worker" : "scheduler", join(out, file)]),
    );
  });

  test.each(["worker", "scheduler"])("of the %s is one module that exports a handler", (name) => {
    const file = assets[name] ?? "";
    expect(exportsOf(file)).toMatchObject({ status: 0, stdout: expect.stringContaining("'handler' ] function") });
  });

  test.each(["worker", "scheduler"])("of the %s needs nothing but Node", (name) => {
    const code = readFileSync(assets[name] ?? "", "utf8");
    const imported = [...code.matchAll(/(?:^|[;}\n])import\s?(?:[\w*{}\s,$]+?from\s?)?"([^"]+)"/g)].map(
      ([, from]) => from,
    );
    expect(imported.length).toBeGreaterThan(0);
    const builtin =
      /^(?:node:|(?:async_hooks|buffer|child_process|crypto|events|fs|http|http2|https|module|net|os|path|process|stream|tls|url|util|zlib)(?:\/|$))/;
    expect(imported.filter((from = "") => !builtin.test(from))).toEqual([]);
    expect(code).toContain("DynamoDBClient");
  });
});

describe("in an app that lacks something", () => {
  const app = fileURLToPath(new URL("./support/bare-app.ts", import.meta.url));
  const run = (cwd: string, entry: string): string => {
    const { status, stderr } = spawnSync(process.execPath, [app, entry], { cwd, encoding: "utf8" });
    expect(status).not.toBe(0);
    return stderr;
  };

  test("a lock file is asked for", () => {
    const empty = mkdtempSync(join(folder, "empty-"));
    writeFileSync(join(empty, "worker.ts"), "export const handler = null;");
    expect(run(empty, "worker.ts")).toMatch(/there is no lock file in .*Fix: run npm install once/);
  });

  test("esbuild is asked for, and no container is started instead", () => {
    const locked = mkdtempSync(join(folder, "locked-"));
    writeFileSync(join(locked, "package-lock.json"), "{}");
    writeFileSync(join(locked, "worker.ts"), "export const handler = null;");
    expect(run(locked, "worker.ts")).toMatch(/esbuild is not installed.*npm install --save-dev esbuild/);
  });
});
