import { readdirSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { defineTask } from "../../lib/task/define-task.ts";
import { formatDuration } from "../../lib/task/duration.ts";
import * as limits from "../../lib/task/limits.ts";
import { LANE_WEIGHTS, LANES } from "../../lib/task/lane.ts";
import { LIFE_CLASSES } from "../../lib/task/payload-ref.ts";
import { z } from "zod";
import { codeBlocks, readText } from "../support/documents.ts";

const QUICKSTART = "examples/quickstart/";
const readme = readText("README.md");
/** Without regard to where lines end. */
const prose = readme.replace(/\s+/g, " ");
const quoted = codeBlocks(readme).filter(({ language, source }) => language === "ts" && source !== undefined);

describe("the README", () => {
  test("quotes every file of the quickstart", () => {
    expect(quoted.map(({ source = "" }) => source).sort()).toEqual(
      readdirSync(new URL(`../../${QUICKSTART}`, import.meta.url))
        .map((name) => QUICKSTART + name)
        .sort(),
    );
  });

  test("goes from what it is to the demo, to what it promises, to four files, to limits", () => {
    expect([...readme.matchAll(/^## (.+)$/gm)].map(([, heading]) => heading)).toEqual([
      "See it first",
      "The promise",
      "Four files in your app",
      "Limits",
      "License",
    ]);
  });

  test("names scripts that exist", () => {
    const { scripts } = JSON.parse(readText("package.json")) as { scripts: Record<string, string> };
    const named = [...readme.matchAll(/npm run ([\w:-]+)/g)].map(([, name = ""]) => name);
    expect(named).toContain("demo");
    expect(named.filter((name) => scripts[name] === undefined)).toEqual([]);
  });

  test("gives figures that the code has", () => {
    const { timeoutMs, maxCrashes } = defineTask({ name: "a", input: z.string() });
    const dayMs = 86_400_000;
    const afterLeaseMs = limits.CLOCK_SKEW_MAX_MS + 1_000;
    const figures = [
      `${limits.PAYLOAD_MAX_BYTES / 1_048_576} MiB of JSON each`,
      `${limits.META_MAX_BYTES / 1_024} KiB of JSON`,
      `${limits.DEFAULT_MAX_BACKLOG.toLocaleString("en-GB")} unless set`,
      `${limits.PAYLOAD_MARGIN_MS / dayMs} days of margin at most ${LIFE_CLASSES.at(-1)?.days} days`,
      `${timeoutMs / 1_000} s unless set, at most 11 hours`,
      `at least ${limits.QUEUE_RETENTION_MS / dayMs + 1} days; ${(limits.QUEUE_RETENTION_MS + limits.DLQ_RETENTION_MS) / dayMs + 1} for a dead task`,
      `message's ${limits.QUEUE_RETENTION_MS / dayMs} days of retention`,
      `slots ${LANES.map((lane) => LANE_WEIGHTS[lane]).join(":")}`,
      `may differ by ${formatDuration(limits.CLOCK_SKEW_MAX_MS).replace("s", " s")}`,
      `after ${maxCrashes === 3 ? "three" : maxCrashes} starts`,
      `${(30_000 + afterLeaseMs) / 1_000} s by default, and at most ${(limits.RENEWAL_MAX_MS + afterLeaseMs) / 1_000} s`,
    ];
    expect(figures.filter((words) => !prose.includes(words))).toEqual([]);
    expect(limits.DEFAULT_LEASE).toBe("30s");
    expect(() => defineTask({ name: "a", input: z.string(), timeout: "11h" })).not.toThrow();
    expect(() => defineTask({ name: "a", input: z.string(), timeout: "11.1h" })).toThrow("DEFINITION_INVALID");
  });
});
