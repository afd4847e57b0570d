import { existsSync, readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { Stack } from "aws-cdk-lib";
import type { BundlingOptions } from "aws-cdk-lib/aws-lambda-nodejs";
import { OutputFormat } from "aws-cdk-lib/aws-lambda-nodejs";
import type { Construct } from "constructs";
import type * as Esbuild from "esbuild";
import { TasklaneError } from "../lib/task/errors.ts";

const LOCK_FILES = ["package-lock.json", "pnpm-lock.yaml", "yarn.lock", "bun.lock", "bun.lockb"];
const EXPECTED = "a module that exports `handler = createLambdaWorker({ handlers })`";

/** What the worker functions are bundled from. */
export interface WorkerEntry {
  readonly entry: string;
  readonly lockFile: string;
}

/**
 * Finds a worker's entry, its lock file and esbuild, and sees that the entry can be what Lambda calls.
 *
 * @throws TasklaneError `DEFINITION_INVALID`
 */
export function findWorkerEntry(
  scope: Construct,
  given: string | URL,
  { bundling = {}, depsLockFilePath }: { bundling?: BundlingOptions; depsLockFilePath?: string },
): WorkerEntry {
  const entry = findEntry(scope, given);
  const lockFile = depsLockFilePath ?? findLockFile(scope);
  if (bundling.forceDockerBundling === true) return { entry, lockFile };
  const folder = [process.cwd(), dirname(lockFile)].find((each) => canResolve("esbuild", each));
  // Without esbuild beside it, the CDK starts a container to bundle in, which takes minutes and needs Docker.
  if (folder === undefined)
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The worker of ${scope.node.path} cannot be bundled: esbuild is not installed`,
      fix: "npm install --save-dev esbuild, or set workerProps.bundling.forceDockerBundling",
    });
  // `cdk ls` and `cdk destroy` bundle nothing, so they need not look at it either.
  if (Stack.of(scope).bundlingRequired)
    checkHandler(scope, entry, createRequire(join(folder, "package.json")), bundling);
  return { entry, lockFile };
}

/** Tells whether a package is there for the modules of a folder. */
export function canResolve(name: string, folder: string): boolean {
  try {
    createRequire(join(folder, "package.json")).resolve(name);
    return true;
  } catch {
    return false;
  }
}

function findEntry(scope: Construct, entry: string | URL): string {
  const path = entry instanceof URL || entry.startsWith("file:") ? fileURLToPath(entry) : resolve(entry);
  if (existsSync(path)) return path;
  throw new TasklaneError("DEFINITION_INVALID", {
    what: `The workerEntry of ${scope.node.path} does not exist`,
    received: path,
    expected: EXPECTED,
    fix: 'give the path from the folder that cdk runs in, or new URL("./lambda.ts", import.meta.url)',
  });
}

function findLockFile(scope: Construct): string {
  for (let folder = process.cwd(); ; folder = dirname(folder)) {
    const found = LOCK_FILES.map((name) => join(folder, name)).find(existsSync);
    if (found !== undefined) return found;
    if (folder !== dirname(folder)) continue;
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `The worker of ${scope.node.path} cannot be bundled: there is no lock file in ${process.cwd()} or above`,
      expected: LOCK_FILES.join(", "),
      fix: "run npm install once, or give workerProps.depsLockFilePath",
    });
  }
}

/** Without the export each invocation would fail, and every task end up dead by its receives. */
function checkHandler(scope: Construct, entry: string, load: NodeJS.Require, bundling: BundlingOptions): void {
  const esbuild: typeof Esbuild = load("esbuild");
  const names = exportsOf(esbuild, entry, bundling);
  if (names === undefined || names.includes("handler")) return;
  throw new TasklaneError("DEFINITION_INVALID", {
    what: `The workerEntry of ${scope.node.path} exports no handler, so Lambda would run no task`,
    received: { entry, exports: names },
    expected: EXPECTED,
    fix: "export const handler = createLambdaWorker({ handlers }), as an ES module",
  });
}

/** What a module exports, as far as that can be told without its packages; what cannot be bundled, the bundling itself complains of. */
function exportsOf(
  { buildSync }: typeof Esbuild,
  entry: string,
  { format, tsconfig, footer, banner, esbuildArgs }: BundlingOptions,
): readonly string[] | undefined {
  // What these add is not seen here.
  const args = Object.keys(esbuildArgs ?? {}).join(" ");
  if (/\bexports?\b/.test(`${banner} ${footer}`) || /banner|footer|format/.test(args)) return undefined;
  try {
    const { metafile, outputFiles } = buildSync({
      entryPoints: [entry],
      bundle: true,
      packages: "external",
      platform: "node",
      format: "esm",
      write: false,
      metafile: true,
      logLevel: "silent",
      ...(tsconfig === undefined ? {} : { tsconfig }),
    });
    const { exports, entryPoint = "" } = Object.values(metafile.outputs).find((output) => output.entryPoint) ?? {};
    const holds = (shape: RegExp): boolean => outputFiles.some(({ text }) => shape.test(text));
    // What CommonJS exports shows when it runs.
    const isCommonJs =
      metafile.inputs[entryPoint]?.format === "cjs" ||
      holds(/\b__reExport\(/) ||
      /\bexports\s*[.[=]/.test(readFileSync(entry, "utf8"));
    if (format === OutputFormat.CJS && isCommonJs) return undefined;
    // What a package exports is not seen here.
    return holds(/^export \* from /m) ? undefined : exports;
  } catch {
    return undefined;
  }
}
