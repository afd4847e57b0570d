import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Emulator } from "../../scripts/emulators/index.ts";
import { startEmulator } from "../../scripts/emulators/index.ts";

const ROOT = fileURLToPath(new URL("../../", import.meta.url));
const STEP_MAX_MS = 240_000;

/** The files of an app that knows nothing of this repository. */
const FILES: Readonly<Record<string, string>> = {
  "package.json": JSON.stringify({ name: "an-app", private: true, type: "module" }),
  "tasks.ts": `import { defineTask } from "tasklane";
import { z } from "zod";
export const greet = defineTask({ name: "greet", input: z.object({ name: z.string() }), output: z.string() });
export const handlers = [greet.handle(({ name }) => \`Hello \${name}\`)];
`,
  "tsconfig.json": JSON.stringify({
    compilerOptions: {
      strict: true,
      module: "nodenext",
      target: "es2024",
      lib: ["es2024", "dom"],
      types: [],
      noEmit: true,
      allowImportingTsExtensions: true,
      skipLibCheck: true,
    },
  }),
  "worker.ts": `import { createLambdaWorker } from "tasklane/lambda";
import { handlers } from "./tasks.ts";
export const handler = createLambdaWorker({ handlers });
`,
  "cdk-app.ts": `import { App, RemovalPolicy, Stack } from "aws-cdk-lib";
import { TaskQueue } from "tasklane/cdk";
const stack = new Stack(new App(), "AnApp");
new TaskQueue(stack, "Tasks", {
  workerEntry: "worker.ts",
  lanes: ["normal"],
  maxConcurrency: 2,
  removalPolicy: RemovalPolicy.DESTROY,
  without: ["autoDeleteObjects", "metricMath"],
});
`,
  "app.ts": `import { createClient } from "tasklane";
import { greet } from "./tasks.ts";
const client = createClient();
const task = await client.enqueue(greet, { name: "Ada" });
const result = await task.result({ timeout: "90s" });
console.log(JSON.stringify({ result, ...(await client.task(greet, task.id).get()) }));
await client.close();
`,
};

describe("the package, installed from its tarball in an empty app", () => {
  let app: string;
  let emulator: Emulator;
  let tarball: string;

  beforeAll(async () => {
    app = mkdtempSync(join(tmpdir(), "tasklane-app-"));
    for (const [name, text] of Object.entries(FILES)) writeFileSync(join(app, name), text);
    const [packed] = JSON.parse(await run("npm", ["pack", "--json", "--silent", "--pack-destination", app], ROOT));
    tarball = packed.filename;
    const { devDependencies: versions } = JSON.parse(readFileSync(join(ROOT, "package.json"), "utf8"));
    const beside = ["aws-cdk", "aws-cdk-lib", "constructs", "esbuild", "zod"].map(
      (name) => `${name}@${versions[name]}`,
    );
    await run("npm", ["install", "--no-audit", "--no-fund", "--prefer-offline", `./${tarball}`, ...beside], app);
    emulator = await startEmulator("ministack");
  });
  afterAll(async () => {
    await emulator?.stop();
    rmSync(app, { recursive: true, force: true });
  });

  test("holds what it exports and the scheduler ready-made, and no source of ours but the compiled one", () => {
    const folder = join(app, "node_modules/tasklane");
    const { exports } = JSON.parse(readFileSync(join(folder, "package.json"), "utf8"));
    const targets = Object.values(exports).flatMap((entry) =>
      typeof entry === "string" ? [entry] : Object.values(entry as Record<string, string>),
    );
    expect(targets.filter((target) => !existsSync(join(folder, target)))).toEqual([]);
    expect(readdirSync(folder).toSorted()).toEqual(["CHANGELOG.md", "LICENSE", "README.md", "dist", "package.json"]);
    const files = readdirSync(folder, { recursive: true, encoding: "utf8" });
    expect(files).toContain(join("dist", "functions", "scheduler", "index.mjs"));
    expect(files.filter((name) => /\.test\.|^(test|examples|scripts|lib|infra)\b/.test(name))).toEqual([]);
    expect(files.filter((name) => /shop|dist\/infra\/app\./.test(name))).toEqual([]);
  });

  test("is found by require as by import", async () => {
    const script = 'console.log(typeof require("tasklane").createClient, typeof require("tasklane/cdk").TaskQueue)';
    expect(await run(process.execPath, ["--no-warnings", "--input-type=commonjs", "-e", script], app)).toContain(
      "function function",
    );
  });

  test("has types that hold in a strict app", async () => {
    await run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."], app);
    writeFileSync(
      join(app, "wrong.ts"),
      'import { createClient } from "tasklane";\nimport { greet } from "./tasks.ts";\nawait createClient().enqueue(greet, { name: 1 });\n',
    );
    await expect(
      run(process.execPath, [join(ROOT, "node_modules/typescript/bin/tsc"), "-p", "."], app),
    ).rejects.toThrow(/wrong\.ts\(3,.*'number' is not assignable to type 'string'/);
    rmSync(join(app, "wrong.ts"));
  });

  test("leaves the AWS SDK and Node's modules out of a bundle that only defines tasks", async () => {
    const { metafile } = await build({
      stdin: {
        contents:
          'import { defineTask } from "tasklane"; export const define = (input) => defineTask({ name: "a", input });',
        resolveDir: app,
      },
      bundle: true,
      write: false,
      metafile: true,
      format: "esm",
      platform: "neutral",
      packages: "bundle",
      external: ["@*", "node:*"],
    });
    const [output] = Object.values(metafile.outputs);
    expect(output?.imports).toEqual([]);
    expect(output?.bytes).toBeGreaterThan(0);
  });

  test("synthesises, deploys, runs a task through its own functions, and is destroyed", async () => {
    await cdk("synth", "--quiet");
    await cdk("bootstrap", "aws://000000000000/us-east-1");
    await cdk("deploy", "--require-approval", "never", "--outputs-file", "outputs.json");
    const output = await run(process.execPath, ["app.ts"], app, { ...emulated(), TASKLANE_TOPOLOGY: "outputs.json" });
    expect(JSON.parse(output.trim().split("\n").at(-1) ?? "")).toMatchObject({
      result: "Hello Ada",
      state: "succeeded",
      attempts: 1,
    });
    await cdk("destroy", "--force");
  });

  function cdk(...args: readonly string[]): Promise<string> {
    return run(
      process.execPath,
      ["node_modules/aws-cdk/bin/cdk", "--app", "node cdk-app.ts", ...args],
      app,
      emulated(),
    );
  }

  function emulated(): Record<string, string> {
    return {
      AWS_ENDPOINT_URL: emulator.endpoint,
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
      AWS_REGION: "us-east-1",
      AWS_DEFAULT_REGION: "us-east-1",
      CDK_DISABLE_CLI_TELEMETRY: "true",
    };
  }
});

/** Runs a command to its end, and answers what it wrote to standard output. */
function run(
  command: string,
  args: readonly string[],
  cwd: string,
  environment: Readonly<Record<string, string>> = {},
): Promise<string> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, {
      cwd,
      stdio: ["ignore", "pipe", "pipe"],
      timeout: STEP_MAX_MS,
      env: {
        ...process.env,
        PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter),
        ...environment,
      },
    });
    let output = "";
    let errors = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (errors += chunk.toString()));
    child.on("error", reject);
    child.on("close", (status) =>
      status === 0
        ? resolve(output)
        : reject(new Error(`${command} ${args.join(" ")} ended with ${status}:\n${(output + errors).slice(-4_000)}`)),
    );
  });
}
