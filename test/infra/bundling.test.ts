import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath, pathToFileURL } from "node:url";
import type { AssetStaging } from "aws-cdk-lib";
import { App, Stack } from "aws-cdk-lib";
import type { BundlingOptions } from "aws-cdk-lib/aws-lambda-nodejs";
import { OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { refusalOf, WORKER_ENTRY } from "./support/synth.ts";

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

describe("a worker's entry", () => {
  const app = mkdtempSync(join(folder, "entries-"));
  const depsLockFilePath = join(app, "package-lock.json");
  writeFileSync(depsLockFilePath, "{}");
  symlinkSync(fileURLToPath(new URL("../../node_modules", import.meta.url)), join(app, "node_modules"));
  writeFileSync(join(app, "worker.ts"), "export const handler: unknown = null;");
  writeFileSync(join(app, "all.cjs"), "exports.handler = () => 1;");

  /** Makes a queue of an entry that holds this code, and answers its bundle. */
  const bundle = (name: string, code: string, bundling: BundlingOptions = {}): string => {
    const workerEntry = join(app, name);
    writeFileSync(workerEntry, code);
    const stack = new Stack(new App({ outdir: mkdtempSync(join(folder, "out-")) }), "Shop");
    const workerProps = { bundling, depsLockFilePath };
    const queue = new TaskQueue(stack, "Tasks", { lanes: ["normal"], workerEntry, workerProps });
    const asset = queue.workers.normal?.node.findChild("Code").node.findChild("Stage") as AssetStaging;
    const [file = ""] = readdirSync(asset.absoluteStagedPath).filter((each) => /^index\.m?js$/.test(each));
    return readFileSync(join(asset.absoluteStagedPath, file), "utf8");
  };

  test.each([
    ["nothing", "misspelt.ts", "export const handlr = 1;", {}, /exports":\["handlr"\]/],
    ["a default", "default.ts", "export default () => 1;", {}, /exports":\["default"\]/],
    [
      "nothing, under a banner",
      "under.ts",
      "export const handlr = 1;",
      { banner: "/* (c), for information */", footer: "" },
      /handlr/,
    ],
    [
      "nothing, with arguments for esbuild",
      "args.ts",
      "export const handlr = 1;",
      { esbuildArgs: { "--alias:a": "b" }, inject: [] },
      /handlr/,
    ],
    [
      "nothing, though it imports CommonJS",
      "importing.ts",
      'import all from "./all.cjs"; export const handlr = all;',
      { format: OutputFormat.CJS },
      /handlr/,
    ],
    ["what an ES module takes for a default", "common.cjs", "exports.handler = () => 1;", {}, /exports":\["default"\]/],
  ])("that exports %s is refused, for Lambda would find no handler", (_, name, code, bundling, text) => {
    const error = refusalOf(() => bundle(name, code, bundling));
    expect(error.code).toBe("DEFINITION_INVALID");
    expect(error.message).toMatch(/workerEntry of Shop\/Tasks exports no handler/);
    expect(error.message).toMatch(text);
  });

  test.each([
    ["another module's", "again.ts", 'export * from "./worker.ts";', {}],
    ["one under another name", "renamed.ts", "const run = () => 1; export { run as handler };", {}],
    ["what only its package knows", "package.ts", 'export * from "zod";', { externalModules: ["zod"] }],
    ["what a footer adds", "footer.ts", "const run = () => 1; run();", { footer: "export const handler = () => 1;" }],
    ["CommonJS's of another file", "through.ts", 'export * from "./all.cjs";', { format: OutputFormat.CJS }],
    ["CommonJS's, where that is asked for", "asked.cjs", "exports.handler = () => 1;", { format: OutputFormat.CJS }],
  ])("may export %s", (_, name, code, bundling) => {
    expect(bundle(name, code, bundling)).not.toBe("");
  });

  test("takes the AWS SDK from the runtime where that is asked for, and else brings it", () => {
    const code = 'import { SQSClient } from "@aws-sdk/client-sqs"; export const handler = () => new SQSClient({});';
    expect(bundle("sdk.ts", code)).not.toMatch(/from\s?"@aws-sdk/);
    expect(bundle("sdk.ts", code, { bundleAwsSDK: false })).toMatch(/from\s?"@aws-sdk\/client-sqs"/);
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
