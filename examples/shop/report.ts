import { styleText } from "node:util";
import { OUT_DIR } from "./artifacts.ts";
import type { Check } from "./check.ts";
import type { RunRecord } from "./run-record.ts";
import { startEnds } from "./start-ends.ts";
import { chargeCard, makeInvoice, makeThumbnail, nightlyExport, sendReceipt } from "./tasks.ts";
import { formatTable, wrapWords } from "./text-layout.ts";

/** As wide as the verdict before a claim. */
const CLAIM_INDENT = " ".repeat(8);

const LEGEND =
  "dupl.: enqueued once more, and refused. starts = commits + failed + crashed; a task that failed or crashed is " +
  "started again, unless its error or its number of crashes says that it is dead. deferred: put back before a start. " +
  "wait, run: p50/p95.";

/** Prints what happened; every figure is counted from journals, ledger and files. */
export function printReport(run: RunRecord, checks: readonly Check[], elapsedMs: number): void {
  const lines = [
    "",
    ...formatTable(taskRows(run)),
    "",
    ...wrapWords(LEGEND, "  "),
    "",
    ...wrapWords(supplierText(run)),
    "",
    "The dead:",
    ...deadLines(run),
    "",
    "The proof:",
    ...checks.flatMap(checkLines),
    "",
    `Files: ${OUT_DIR}`,
    summary(checks, elapsedMs),
  ];
  process.stdout.write(`${lines.join("\n")}\n`);
}

function checkLines({ ok, claim, found }: Check): string[] {
  const [first = "", ...more] = wrapWords(ok ? claim : `${claim}: ${found}`, CLAIM_INDENT);
  const verdict = ok ? styleText("green", "ok  ") : styleText("red", "FAIL");
  return [`  ${verdict}  ${first.slice(CLAIM_INDENT.length)}`, ...more];
}

function summary(checks: readonly Check[], elapsedMs: number): string {
  const failed = checks.filter(({ ok }) => !ok).length;
  const seconds = (elapsedMs / 1000).toFixed(1);
  return failed === 0
    ? `All ${checks.length} checks hold, after ${seconds} s.`
    : `${failed} of ${checks.length} checks FAILED, after ${seconds} s.`;
}

/** The supplier counts calls, the shop counts starts: a start that crashes before its call is in one figure only. */
function supplierText(run: RunRecord): string {
  const { calls, charged, repeated, failed, dropped, tooMany, refused } = run.supplier;
  const starts = run.starts.filter(({ task }) => task === chargeCard.name).length;
  const uncalled = starts === calls ? "" : ` (the other ${starts - calls} never reached it)`;
  return (
    `The supplier: ${calls} calls from ${starts} starts of ${chargeCard.name}${uncalled}; ${charged} charges, ` +
    `${repeated} repeated keys, ${failed} failures, ${dropped} dropped connections, ${tooMany} calls too many, ` +
    `${refused} refused card`
  );
}

function taskRows(run: RunRecord): string[][] {
  const head = [
    "task",
    "tasks",
    "dupl.",
    "starts",
    "commits",
    "failed",
    "crashed",
    "deferred",
    "dead",
    "wait, s",
    "run, ms",
  ];
  const rows = [chargeCard, makeThumbnail, makeInvoice, sendReceipt, nightlyExport].map(({ name }) =>
    taskRow(run, name),
  );
  return [head, ...rows];
}

function taskRow(run: RunRecord, name: string): string[] {
  const records = [...run.ledger.values()].filter(({ task }) => task === name);
  const ends = startEnds(run, name);
  const waitsS: number[] = [];
  const runsMs: number[] = [];
  let deferred = 0;
  for (const event of run.events) {
    if (!("task" in event) || event.task !== name) continue;
    if (event.type === "attempt-started") waitsS.push(event.waitMs / 1000);
    else if (event.type === "attempt-ended") runsMs.push(event.runMs);
    else if (event.type === "deferred") deferred += 1;
  }
  return [
    name,
    ...[
      records.length,
      run.enqueues.filter(({ task, duplicate }) => task === name && duplicate).length,
      ends.length,
      records.filter(({ state }) => state === "succeeded").length,
      ends.filter((end) => end === "failed").length,
      ends.filter((end) => end === "crashed").length,
      deferred,
      records.filter(({ state }) => state === "dead").length,
    ].map(String),
    percentiles(waitsS, 1),
    percentiles(runsMs, 0),
  ];
}

/** What is dead, and what was dead until it was redriven: two lines each, since the reason in words may be long. */
function deadLines({ dead, ledger, events }: RunRecord): string[] {
  const deaths = dead.map(({ task, id, reason = "", message = "" }) => ({ row: [task, reason, "dead", id], message }));
  const redriven = [...ledger.values()].filter(({ epoch, state }) => epoch > 1 && state !== "dead");
  for (const { task, id, state } of redriven) {
    const death = events.find((event) => event.type === "dead" && event.taskId === id);
    const [reason, message] = death?.type === "dead" ? [death.reason, death.message] : ["", ""];
    deaths.push({ row: [task, reason, `redriven, ${state}`, id], message });
  }
  const firstLines = formatTable(deaths.map(({ row }) => row));
  return deaths.flatMap(({ message }, index) => [firstLines[index] ?? "", ...wrapWords(message, "      ")]);
}

/** The median and the 95th percentile, by nearest rank; nothing of nothing. */
function percentiles(values: readonly number[], decimals: number): string {
  if (values.length === 0) return "-";
  const sorted = values.toSorted((a, b) => a - b);
  return [50, 95]
    .map((percent) => sorted[Math.max(0, Math.ceil((percent / 100) * sorted.length) - 1)] ?? 0)
    .map((value) => value.toFixed(decimals))
    .join("/");
}
