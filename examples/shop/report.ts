import { styleText } from "node:util";
import { OUT_DIR } from "./artifacts.ts";
import type { Check } from "./check.ts";
import type { RunRecord } from "./run-record.ts";
import type { SupplierStats } from "./supplier.ts";
import { chargeCard, makeInvoice, makeThumbnail, nightlyExport, sendReceipt } from "./tasks.ts";

/** Prints what happened; every figure is counted from journals, ledger and files. */
export function printReport(run: RunRecord, checks: readonly Check[], elapsedMs: number): void {
  const lines = [
    "",
    ...formatTable(taskRows(run)),
    "",
    supplierLine(run.supplier),
    "",
    "The dead:",
    ...formatTable(deadRows(run)),
    "",
    "The proof:",
    ...checks.map(
      ({ ok, claim, found }) =>
        `  ${ok ? styleText("green", "ok  ") : styleText("red", "FAIL")}  ${claim}${ok ? "" : `: ${found}`}`,
    ),
    "",
    `Files: ${OUT_DIR}`,
    summary(checks, elapsedMs),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function summary(checks: readonly Check[], elapsedMs: number): string {
  const failed = checks.filter(({ ok }) => !ok).length;
  const seconds = (elapsedMs / 1000).toFixed(1);
  return failed === 0
    ? `All ${checks.length} checks hold, after ${seconds} s.`
    : `${failed} of ${checks.length} checks FAILED, after ${seconds} s.`;
}

function supplierLine({ calls, charged, repeated, failed, dropped, tooMany, refused }: SupplierStats): string {
  return (
    `The supplier: ${calls} calls, ${charged} charges, ${repeated} repeated keys, ${failed} failures, ` +
    `${dropped} dropped connections, ${tooMany} calls too many, ${refused} refused card`
  );
}

function taskRows(run: RunRecord): string[][] {
  const head = [
    "task",
    "enqueued",
    "duplicates",
    "starts",
    "commits",
    "retried",
    "deferred",
    "dead",
    "wait p50",
    "p95",
    "run p50",
    "p95",
  ];
  const rows = [chargeCard, makeThumbnail, makeInvoice, sendReceipt, nightlyExport].map(({ name }) =>
    taskRow(run, name),
  );
  return [head, ...rows];
}

function taskRow(run: RunRecord, name: string): string[] {
  const records = [...run.ledger.values()].filter(({ task }) => task === name);
  const waits: number[] = [];
  const runs: number[] = [];
  const counts = { retried: 0, deferred: 0 };
  for (const event of run.events) {
    if (!("task" in event) || event.task !== name) continue;
    if (event.type === "attempt-started") waits.push(event.waitMs);
    else if (event.type === "deferred") counts.deferred += 1;
    else if (event.type === "attempt-ended") {
      runs.push(event.runMs);
      if (event.outcome === "retry") counts.retried += 1;
    }
  }
  return [
    name,
    ...[
      records.length,
      run.enqueues.filter(({ task, duplicate }) => task === name && duplicate).length,
      run.starts.filter(({ task }) => task === name).length,
      records.filter(({ state }) => state === "succeeded").length,
      counts.retried,
      counts.deferred,
      records.filter(({ state }) => state === "dead").length,
    ].map(String),
    ...[percentile(waits, 50), percentile(waits, 95), percentile(runs, 50), percentile(runs, 95)].map(formatMs),
  ];
}

/** What is dead, and what was dead until it was redriven. */
function deadRows({ dead, ledger, events }: RunRecord): string[][] {
  const head = ["task", "id", "reason", "in words", "now"];
  const redriven = [...ledger.values()].filter(({ epoch, state }) => epoch > 1 && state !== "dead");
  return [
    head,
    ...dead.map(({ task, id, reason = "", message = "" }) => [task, id, reason, message, "dead"]),
    ...redriven.map(({ task, id, state }) => {
      const death = events.find((event) => event.type === "dead" && event.taskId === id);
      return [task, id, ...(death?.type === "dead" ? [death.reason, death.message] : ["", ""]), `redriven, ${state}`];
    }),
  ];
}

/** The nearest-rank percentile; nothing of nothing. */
function percentile(values: number[], percent: number): number | undefined {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)];
}

function formatMs(ms: number | undefined): string {
  if (ms === undefined) return "-";
  return ms < 1000 ? `${Math.round(ms)} ms` : `${(ms / 1000).toFixed(1)} s`;
}

/** Columns of equal width; numbers to the right, words to the left. */
function formatTable(rows: readonly string[][]): string[] {
  const widths = rows[0]?.map((_, column) => Math.max(...rows.map((row) => row[column]?.length ?? 0))) ?? [];
  return rows.map((row) => {
    const cells = row.map((cell, column) => {
      const isNumber = rows.length > 1 && rows.slice(1).every((other) => /^(\d|-$)/.test(other[column] ?? ""));
      return isNumber ? cell.padStart(widths[column] ?? 0) : cell.padEnd(widths[column] ?? 0);
    });
    return `  ${cells.join("  ")}`.trimEnd();
  });
}
