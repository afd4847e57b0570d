import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { resourcesOf, templateOf } from "./support/synth.ts";

const page = readFileSync(new URL("../../docs/deploy.md", import.meta.url), "utf8");
const measured = readFileSync(new URL("../../docs/cost.md", import.meta.url), "utf8");

const DAYS = 30;
const MINUTES = DAYS * 1_440;

/** The cells of a table between two marks, without its head. */
function rowsOf(mark: string): string[][] {
  const [, table = ""] = new RegExp(`<!-- ${mark}:begin -->([\\s\\S]*?)<!-- ${mark}:end -->`).exec(page) ?? [];
  const rows = table.split("\n").filter((line) => line.startsWith("|"));
  return rows.slice(2).map((line) =>
    line
      .split("|")
      .slice(1, -1)
      .map((cell) => cell.replaceAll("*", "").trim()),
  );
}

function numberIn(text = ""): number {
  return Number(text.replaceAll(",", ""));
}

function inCents(dollars: number): string {
  return dollars.toFixed(2);
}

describe("what docs/deploy.md says of an idle stage", () => {
  const rows = rowsOf("idle-cost");
  const lines = rows.slice(0, -1).map(([what = "", count, price, sum]) => ({
    what,
    count: numberIn(count),
    price: numberIn(price),
    sum,
  }));
  const countOf = (start: string): number | undefined => lines.find(({ what }) => what.startsWith(start))?.count;
  const template = templateOf();

  test("adds up", () => {
    for (const { what, count, price, sum } of lines) expect([what, inCents(count * price)]).toEqual([what, sum]);
    const sum = lines.reduce((cents, line) => cents + Math.round(numberIn(line.sum) * 100), 0);
    expect(rows.at(-1)).toEqual(["sum", "", "", inCents(sum / 100)]);
  });

  test("counts the alarms and dashboards that are deployed", () => {
    const alarms = Object.values(resourcesOf(template, "AWS::CloudWatch::Alarm"));
    const metrics = alarms.flatMap(({ Properties }) => {
      const parts = (Properties?.["Metrics"] ?? [{ MetricStat: {} }]) as { MetricStat?: unknown }[];
      return parts.filter(({ MetricStat }) => MetricStat !== undefined);
    });
    expect(countOf("metrics in alarms")).toBe(metrics.length);
    expect(countOf("the dashboard")).toBe(Object.keys(resourcesOf(template, "AWS::CloudWatch::Dashboard")).length);
  });

  test("counts the polls of the event sources that are deployed", () => {
    const sources = Object.keys(resourcesOf(template, "AWS::Lambda::EventSourceMapping")).length;
    expect(countOf(`receives of ${sources} event sources, 5 pollers each, every 20 s`)).toBe(sources * 5 * 3 * MINUTES);
  });

  test("takes what the scheduler does from docs/cost.md", () => {
    const cell = (what: string): string =>
      new RegExp(`\\| ${what}[^|]*\\| ([^|]+) \\|`).exec(measured.slice(measured.indexOf("idle:begin")))?.[1] ?? "";
    const writes = numberIn(cell("write units of the scheduler"));
    const requests = numberIn(cell("SQS requests of the scheduler"));
    const [, each, daily] = /([\d,.]+), and ([\d,]+) a day/.exec(cell("read units of the scheduler")) ?? [];
    expect(countOf("write units of the scheduler")).toBe(writes * MINUTES);
    expect(countOf("SQS requests of the scheduler")).toBe(requests * MINUTES);
    expect(countOf("read units of the scheduler")).toBe(numberIn(each) * MINUTES + numberIn(daily) * DAYS);
    expect(countOf("runs of the scheduler")).toBe(MINUTES);
  });
});

test("what docs/deploy.md says of a million tasks adds up", () => {
  const rows = rowsOf("task-cost");
  for (const column of [1, 2]) {
    const cents = rows.slice(0, -1).reduce((sum, row) => sum + Math.round(numberIn(row[column]) * 100), 0);
    expect(rows.at(-1)?.[column]).toBe(inCents(cents / 100));
  }
});
