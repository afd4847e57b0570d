import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { DatabaseSync } from "node:sqlite";
import { fileURLToPath } from "node:url";
import { describe, expect, test } from "vitest";
import { codeBlocks, documentPaths, readText } from "../support/documents.ts";

const blocks = documentPaths().flatMap((path) => codeBlocks(readText(path)).map((block) => ({ path, ...block })));
const quoted = blocks.filter(({ source }) => source !== undefined);
/** Blocks that stand for themselves; those without an import are parts of something. */
const whole = blocks.filter(
  ({ language, source, code }) => language === "ts" && source === undefined && /^import /m.test(code),
);

describe("the code in the documents", () => {
  test.each(quoted)("$path quotes $source word for word", ({ source = "", code }) => {
    expect(code).toBe(readText(source));
  });

  test("type-checks", { timeout: 60_000 }, () => {
    expect(whole.length).toBeGreaterThan(3);
    const folder = new URL("../../reports/snippets/", import.meta.url);
    rmSync(folder, { recursive: true, force: true });
    mkdirSync(folder, { recursive: true });
    const config = { extends: "../../tsconfig.json", include: ["*.ts"], exclude: [] };
    writeFileSync(new URL("tsconfig.json", folder), JSON.stringify(config));
    for (const { path, line, code } of whole)
      writeFileSync(new URL(`${path.replace(/\W/g, "-")}-${line}.ts`, folder), `${code}\nexport {};\n`);
    const tsc = fileURLToPath(new URL("../../node_modules/typescript/bin/tsc", import.meta.url));
    const { status, stdout } = spawnSync(process.execPath, [tsc, "-p", fileURLToPath(folder)], { encoding: "utf8" });
    expect(status).not.toBeNull();
    // What is wrong elsewhere is for `npm run check:types` to tell.
    expect(stdout.split("\n").filter((line) => line.includes("reports/snippets/"))).toEqual([]);
  });
});

describe("the SQL of docs/idempotency-keys.md", () => {
  const [payments = "", exports = ""] = blocks.filter(({ language }) => language === "sql").map(({ code }) => code);

  /** Makes the table of a block, and answers its one statement that writes. */
  function prepare(block: string): { database: DatabaseSync; write(values: Record<string, string | number>): number } {
    const database = new DatabaseSync(":memory:");
    const [create = "", insert = ""] = block.split(/;\n/);
    database.exec(create);
    const statement = database.prepare(insert);
    return { database, write: (values) => Number(statement.run(values).changes) };
  }

  test("pays once for a task, whichever attempt comes first", () => {
    const { database, write } = prepare(payments);
    const payment = { $key: "task-1", $order: "A-1001", $cents: 1_250 };
    expect([write(payment), write(payment), write({ ...payment, $key: "task-2" })]).toEqual([1, 0, 1]);
    expect(database.prepare("SELECT count(*) AS count FROM payments").get()).toEqual({ count: 2 });
  });

  test("refuses what a stalled start writes after a later one", () => {
    const { database, write } = prepare(exports);
    const start = (fence: number, body: string): number => write({ $task: "task-1", $fence: fence, $body: body });
    expect([start(7, "a"), start(8, "b"), start(7, "late"), start(8, "c")]).toEqual([1, 1, 0, 1]);
    expect(database.prepare("SELECT body, fence FROM exports").get()).toEqual({ body: "c", fence: 8 });
  });
});
