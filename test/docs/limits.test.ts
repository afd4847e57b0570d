import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { LimitRow } from "../../lib/task/limit-tables.ts";
import { DEFAULTS_TABLE, LIMITS_TABLE } from "../../lib/task/limit-tables.ts";
import * as limits from "../../lib/task/limits.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { formatDuration, parseDuration } from "../../lib/task/duration.ts";
import { settleSpec } from "../../lib/task/topology.ts";
import { GENERATED_PARTS, readPart } from "../../scripts/generated-docs.ts";

const page = readFileSync(new URL("../../docs/limits.md", import.meta.url), "utf8");

/** The value that a table shows for a setting. */
function shown(table: readonly LimitRow[], setting: string): string | undefined {
  return table.find((row) => row.setting === setting)?.value;
}

describe("docs/limits.md", () => {
  test.each(["defaults", "limits"])("has the table of %s as the code has it (run: npm run docs)", (name) => {
    const part = GENERATED_PARTS.find((made) => made.name === name);
    expect(readPart(page, name)).toBe(part?.text);
  });

  test("has one row for each setting", () => {
    for (const table of [DEFAULTS_TABLE, LIMITS_TABLE]) {
      const settings = table.map((row) => row.setting);
      expect(new Set(settings).size).toBe(settings.length);
      expect(table.filter((row) => row.why === "" || row.value === "")).toEqual([]);
    }
  });

  test("gives a source for each limit of AWS", () => {
    const rows = page.split("\n").filter((line) => /^\| (?:SQS|DynamoDB|S3) \|/.test(line));
    expect(rows.length).toBeGreaterThan(10);
    expect(rows.filter((row) => !/\(https:\/\/(?:docs\.)?aws\.amazon\.com\/[^)]+\)/.test(row))).toEqual([]);
  });
});

describe("the table of defaults", () => {
  test("tells what a task gets that sets nothing", () => {
    const task = defineTask({ name: "a", input: z.string() });
    expect({
      lane: task.lane,
      maxRetries: String(task.maxRetries),
      "backoff.initial": formatDuration(task.backoff.initialMs),
      "backoff.factor": String(task.backoff.factor),
      "backoff.max": formatDuration(task.backoff.maxMs),
      "backoff.jitter": task.backoff.jitter,
      maxCrashes: String(task.maxCrashes),
      maxLifetime: formatDuration(task.maxLifetimeMs),
      timeout: formatDuration(task.timeoutMs),
      retention: formatDuration(task.retentionMs),
    }).toEqual(Object.fromEntries(DEFAULTS_TABLE.slice(0, 10).map((row) => [row.setting, row.value])));
  });

  test("tells what a worker and a topology get that set nothing", () => {
    expect(shown(DEFAULTS_TABLE, "concurrency")).toBe(String(limits.DEFAULT_CONCURRENCY));
    expect(shown(DEFAULTS_TABLE, "lease")).toBe(limits.DEFAULT_LEASE);
    expect(shown(DEFAULTS_TABLE, "shutdownGrace")).toBe(limits.DEFAULT_SHUTDOWN_GRACE);
    for (const maxBacklog of Object.values(settleSpec().maxBacklog))
      expect(shown(DEFAULTS_TABLE, "maxBacklog")).toBe(maxBacklog.toLocaleString("en-GB"));
  });

  test("says why with figures that hold", () => {
    const { backoff, maxRetries, timeoutMs } = defineTask({ name: "a", input: z.string() });
    const bounds = Array.from({ length: maxRetries }, (_, at) =>
      Math.min(backoff.maxMs, backoff.initialMs * backoff.factor ** at),
    );
    expect(bounds).toEqual([1_000, 4_000, 16_000, 64_000, 256_000]);
    // "about six minutes of trying"
    expect(Math.round(bounds.reduce((sum, bound) => sum + bound, 0) / 60_000)).toBe(6);
    expect(backoff.maxMs).toBe(limits.SQS_DELAY_MAX_MS);
    expect(timeoutMs).toBeLessThan(60_000);
    expect(parseDuration(limits.DEFAULT_SHUTDOWN_GRACE, "grace")).toBeLessThan(30_000);
    expect(limits.BACKLOG_WARNING_RATIO).toBe(0.8);
  });
});

describe("the table of limits", () => {
  test.each([
    ["payload", "10 MiB", limits.PAYLOAD_MAX_BYTES, 10 * 1_048_576],
    ["result", "10 MiB", limits.PAYLOAD_MAX_BYTES, 10 * 1_048_576],
    ["payload in the record", "256 B", limits.RECORD_INPUT_MAX_BYTES, 256],
    ["payload in a side item", "8 KiB", limits.SIDE_ITEM_MAX_BYTES, 8_192],
    ["message with a copy of the payload", "64 KiB", limits.ENVELOPE_COPY_MAX_BYTES, 65_536],
    ["JSON depth", "64 levels", limits.JSON_MAX_DEPTH, 64],
    ["meta", "2 KiB", limits.META_MAX_BYTES, 2_048],
    ["attempts in the history", "10", limits.HISTORY_MAX_ATTEMPTS, 10],
    ["error message kept", "1,000 characters", limits.ERROR_MESSAGE_MAX_CHARS, 1_000],
    ["error stack kept", "4,000 characters", limits.ERROR_STACK_MAX_CHARS, 4_000],
    ["dead letter copy", "64 KiB", limits.DLQ_COPY_MAX_BYTES, 65_536],
    ["clock skew", "5s", limits.CLOCK_SKEW_MAX_MS, 5_000],
    ["receive limit", "20", limits.RECEIVE_LIMIT, 20],
    ["re-sends without a claim", "5", limits.RESENDS_MAX, 5],
    ["unknown task", "1d", limits.UNKNOWN_TASK_MAX_MS, 86_400_000],
    ["rate limit horizon", "1m", limits.RATE_LIMIT_HORIZON_MS, 60_000],
  ])("shows the limit of %s as %s", (setting, text, value, expected) => {
    expect(value).toBe(expected);
    expect(shown(LIMITS_TABLE, setting)).toBe(text);
  });
});
