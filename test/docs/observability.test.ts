import { describe, expect, test } from "vitest";
import { GAUGE_METRICS, TASK_METRICS } from "../../lib/task/metrics.ts";
import { readText } from "../support/documents.ts";

const events = readText("lib/task/events.ts");
const page = readText("docs/observability.md");
const rows = [...page.matchAll(/^\| `([\w-]+)` \| [\w, ]+ \| (.+?) \|/gm)].map(([, name = "", fields = ""]) => ({
  name,
  fields,
}));
/** Each event's name with the text of its type, as far as the next event's. */
const types = events
  .slice(events.indexOf("export type TasklaneEvent ="))
  .split(/readonly type: "/)
  .slice(1)
  .map((text) => ({ name: text.slice(0, text.indexOf('"')), text: text.slice(0, text.indexOf("\n  |") >>> 0) }));

describe("docs/observability.md", () => {
  test("has a row for each event, and none for an event that does not exist", () => {
    expect(types.length).toBeGreaterThan(10);
    expect(rows.map(({ name }) => name).sort()).toEqual(types.map(({ name }) => name).sort());
  });

  test.each(types)("names the fields of $name", ({ name, text }) => {
    const named = [...text.matchAll(/readonly (\w+)\??:/g)].map(([, field = ""]) => `\`${field}\``);
    const task = text.includes("& TaskMark") ? ["task"] : [];
    expect(rows.find((row) => row.name === name)?.fields.split(", ")).toEqual([...task, ...named]);
  });

  test("names each reason of a deferral and each cause of a dropped copy", () => {
    const reasons = events.slice(events.indexOf("DeferralReason ="), events.indexOf("export type TasklaneEvent ="));
    const causes = types.find(({ name }) => name === "copy-dropped")?.text ?? "";
    const words = [...`${reasons}${causes}`.matchAll(/"([\w-]+)"/g)].map(([, word = ""]) => word);
    expect(words.length).toBeGreaterThan(8);
    expect(words.filter((word) => word !== "copy-dropped" && !page.includes(`\`${word}\``))).toEqual([]);
  });

  test("names each metric with its unit", () => {
    const lines = page.split("\n").filter((line) => line.startsWith("- `"));
    const listed = lines.flatMap((line) => {
      const [names = "", unit = ""] = line.split(" (");
      return [...names.matchAll(/`(\w+)`/g)].map(([, name]) => `${name} ${unit.split(")")[0]}`);
    });
    const metrics = Object.entries({ ...TASK_METRICS, ...GAUGE_METRICS });
    expect(listed.toSorted()).toEqual(metrics.map(([name, { unit }]) => `${name} ${unit.toLowerCase()}`).toSorted());
  });
});
