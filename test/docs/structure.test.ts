import { existsSync, readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { LAYERS, SYSTEM_FILE } from "../../scripts/import-rule.ts";
import { findClockUses, findEscapes, findImportBreaches, findOwnCode } from "../support/scan-source.ts";

const root = fileURLToPath(new URL("../../", import.meta.url));

const sources: { path: string; source: string }[] = readdirSync(`${root}lib`, { recursive: true, encoding: "utf8" })
  .map((name) => `lib/${name.replaceAll("\\", "/")}`)
  .filter((path) => path.endsWith(".ts"))
  .map((path) => ({ path, source: readFileSync(root + path, "utf8") }));

describe("the source of lib", () => {
  test("imports only what the import rule allows", () => {
    expect(sources.length).toBeGreaterThan(0);
    expect(sources.flatMap(({ path, source }) => findImportBreaches(path, source))).toEqual([]);
  });

  test("reads the clock and draws randomness only in lib/system.ts", () => {
    const others = sources.filter(({ path }) => path !== `lib/${SYSTEM_FILE}`);
    expect(others.flatMap(({ path, source }) => findClockUses(path, source))).toEqual([]);
  });

  test("gets round neither the type checker nor the lint rules, and has no default export", () => {
    expect(sources.flatMap(({ path, source }) => findEscapes(path, source))).toEqual([]);
  });

  test("lists the public API in index.ts files that hold no code", () => {
    const indexes = sources.filter(({ path }) => path.endsWith("/index.ts"));
    expect(indexes.map(({ path }) => path)).toContain("lib/index.ts");
    expect(indexes.flatMap(({ path, source }) => findOwnCode(path, source))).toEqual([]);
  });

  test("has names in kebab-case, and none that says nothing", () => {
    const parts = sources.flatMap(({ path }) => path.split("/").map((part) => ({ path, part })));
    const odd = parts.filter(({ part }) => !/^[a-z0-9]+(?:-[a-z0-9]+)*(?:\.test)?(?:\.ts)?$/.test(part));
    const empty = parts.filter(({ part }) => /^(?:.*-)?(?:utils?|helpers?|common|manager|misc)(?:\.ts)?$/.test(part));
    expect([...odd, ...empty]).toEqual([]);
  });

  test("has every part that the import rule names", () => {
    expect(LAYERS.map(({ name }) => name).filter((name) => !existsSync(`${root}lib/${name}`))).toEqual([]);
  });
});

describe("the package", () => {
  test("has a lock file that names no download address", () => {
    const lock = readFileSync(`${root}package-lock.json`, "utf8");
    expect(lock.match(/"resolved": "(?!file:|node_modules)[^"]*"/g) ?? []).toEqual([]);
  });
});

describe("the scanner", () => {
  test.each([
    ["lib/task/a.ts", 'import { x } from "../ports/queue.ts";'],
    ["lib/task/a.ts", 'import { createHash } from "node:crypto";'],
    ["lib/task/a.ts", 'import type { SQSClient } from "@aws-sdk/client-sqs";'],
    ["lib/task/deep/a.ts", 'import { x } from "../../ports/queue.ts";'],
    ["lib/ports/a.ts", 'export type { X } from "../flow/claim.ts";'],
    ["lib/flow/a.ts", 'import "../memory/memory-queue.ts";'],
    ["lib/flow/a.ts", 'const x = await import("../aws/sqs-queue.ts");'],
    ["lib/flow/a.ts", 'export type X = import("../aws/sqs-queue.ts").X;'],
    ["lib/flow/a.ts", 'export * from "../system.ts";'],
    ["lib/flow/a.ts", 'import { SQSClient } from "@aws-sdk/client-sqs";'],
    ["lib/flow/a.ts", "const x = await import(name);"],
    ["lib/memory/a.ts", 'import { x } from "../aws/sqs-queue.ts";'],
    ["lib/local/a.ts", 'import { x } from "../flow/claim.ts";'],
    ["lib/client.ts", 'import { x } from "./worker.ts";'],
    ["lib/client.ts", 'import { x } from "./aws/sqs-queue.ts";'],
    ["lib/testing/a.ts", 'import { x } from "../../test/support/x.ts";'],
    ["lib/index.ts", 'export { x } from "../examples/shop/demo.ts";'],
    ["lib/unheard-of/a.ts", "export const x = 1;"],
  ])("finds the forbidden import in %s: %s", (path, source) => {
    expect(findImportBreaches(path, source)).toHaveLength(1);
  });

  test.each([
    [
      "lib/flow/a.ts",
      'import { x } from "../task/a.ts"; import { y } from "./b.ts"; import { z } from "../control/c.ts";',
    ],
    ["lib/aws/a.ts", 'import { SQSClient } from "@aws-sdk/client-sqs"; import { createHash } from "node:crypto";'],
    ["lib/testing/a.ts", 'import { x } from "../local/a.ts"; import { y } from "../client.ts";'],
    ["lib/task/a.ts", '// import { x } from "../flow/a.ts"\nexport const x = \'import { x } from "../flow/a.ts"\';'],
  ])("allows what the rule allows in %s: %s", (path, source) => {
    expect(findImportBreaches(path, source)).toEqual([]);
  });

  test.each([
    "Date.now()",
    "new Date()",
    "Date()",
    "const clock = Date.now;",
    "const { now } = Date;",
    'Date["now"]()',
    "Math.random()",
    "setTimeout(run, 5)",
    "globalThis.setTimeout(run, 5)",
    "const timers = { setTimeout };",
    "setInterval(run, 5)",
    "performance.now()",
    "crypto.randomUUID()",
    "globalThis.crypto.randomUUID()",
    "AbortSignal.timeout(5)",
    'import { randomUUID } from "node:crypto";',
    'import { setTimeout as sleep } from "node:timers/promises";',
  ])("finds the use of clock or randomness in %s", (source) => {
    expect(findClockUses("lib/flow/a.ts", source).length).toBeGreaterThan(0);
  });

  test.each([
    "new Date(clock.now())",
    "clock.now()",
    "Date.parse(text)",
    "// Date.now() is forbidden here",
    'const text = "Math.random() and setTimeout()";',
    "export interface Timers { setTimeout(ms: number): void }",
    'import { createHash } from "node:crypto";',
  ])("leaves alone %s", (source) => {
    expect(findClockUses("lib/flow/a.ts", source)).toEqual([]);
  });

  test.each([
    "const x = y as any;",
    "const x = y as unknown as Z;",
    "// @ts-ignore",
    "/* oxlint-disable */",
    "export default 1;",
  ])("finds the escape in %s", (source) => {
    expect(findEscapes("lib/flow/a.ts", source)).toHaveLength(1);
  });

  test.each(["export const x = 1;", "const x = 1;", "export function x(): void {}"])(
    "finds the code in %s",
    (source) => {
      expect(findOwnCode("lib/index.ts", source)).toHaveLength(1);
    },
  );

  test("takes re-exports for no code", () => {
    expect(findOwnCode("lib/index.ts", 'export { x } from "./x.ts"; export type { Y } from "./y.ts";')).toEqual([]);
  });
});
