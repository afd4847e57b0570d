/** Checks what became of the tasks: what the ledger, the workers, the handlers and the processes say must agree. */
import { checkEqual, checkNone } from "./check.ts";
import type { Check } from "./check.ts";
import type { RunRecord } from "./run-record.ts";
import { cardSupplier, chargeCard, makeInvoice, makeThumbnail, nightlyExport, sendReceipt } from "./tasks.ts";

/** What the demo did on purpose. */
export interface Mischief {
  readonly orders: number;
  /** What came of enqueuing orders a second time. */
  readonly second: readonly { readonly duplicate: boolean }[];
  readonly pillTaskId: string;
  readonly mendedTaskId: string;
}

const MESSAGE_MAX_BYTES = 1_048_576;

export function proveTasks(run: RunRecord, mischief: Mischief): Check[] {
  return [...proveEnds(run, mischief), ...proveStarts(run), ...proveTrouble(run, mischief), ...proveRateLimit(run)];
}

function proveEnds({ ledger, events }: RunRecord, { orders, pillTaskId }: Mischief): Check[] {
  const records = [...ledger.values()];
  const ended = records.filter(({ id, state }) => state === (id === pillTaskId ? "dead" : "succeeded"));
  const perTask = [chargeCard, makeThumbnail, makeInvoice, sendReceipt, nightlyExport].map(
    ({ name }) => records.filter(({ task }) => task === name).length,
  );
  const commits = new Map<string, number>();
  for (const event of events) {
    if (event.type === "attempt-ended" && event.outcome === "succeeded") {
      commits.set(event.taskId, (commits.get(event.taskId) ?? 0) + 1);
    }
  }
  const twice = [...commits]
    .filter(([, count]) => count !== 1)
    .map(([id, count]) => `${id} was committed ${count} times`);
  const unrecorded = [...commits.keys()]
    .filter((id) => ledger.get(id)?.state !== "succeeded")
    .map((id) => `${id} is lost`);
  return [
    checkEqual("each order became one task of each kind, and the day one export", perTask, [
      orders,
      orders,
      orders,
      orders,
      1,
    ]),
    checkEqual(`${records.length} tasks accepted, and each in its final state`, ended.length, records.length),
    checkNone("exactly one commit for each task that succeeded", [...twice, ...unrecorded]),
  ];
}

function proveStarts({ starts, ledger }: RunRecord): Check[] {
  const byTask = Map.groupBy(starts, (start) => start.taskId);
  const strange = [...ledger.values()].flatMap(({ id, attempts }) => {
    const started = byTask.get(id)?.length ?? 0;
    return started >= 1 && started <= attempts
      ? []
      : [`${id}: ${started} handler starts, ${attempts} attempts in the ledger`];
  });
  const claim = `more handler starts (${starts.length}) than tasks (${ledger.size}): crashes and retries did happen`;
  return [
    { ok: starts.length > ledger.size, claim, found: "every task started once" },
    checkNone("no handler started without an attempt in the ledger", strange),
  ];
}

function proveTrouble(
  { ledger, dead, exits, supplier, starts, storedPayloads }: RunRecord,
  mischief: Mischief,
): Check[] {
  const { pillTaskId, mendedTaskId, second } = mischief;
  const pill = ledger.get(pillTaskId);
  const mended = ledger.get(mendedTaskId);
  const garbage = dead.filter(({ task }) => task === "unknown");
  const signals = exits.map(({ signal, code }) => signal ?? `code ${code}`).toSorted();
  const pillStarts = starts.filter(({ taskId }) => taskId === pillTaskId).length;
  return [
    checkEqual(
      `${second.length} tasks of orders submitted twice refused as duplicates`,
      second.filter(({ duplicate }) => duplicate).length,
      second.length,
    ),
    checkEqual(
      "workers went down by one SIGKILL, and three times by the pill: a task that kills its process",
      signals,
      ["SIGABRT", "SIGABRT", "SIGABRT", "SIGKILL"],
    ),
    checkEqual("the pill is dead after three starts", [pill?.reason, pill?.crashes, pillStarts], ["CRASHED", 3, 3]),
    checkEqual(
      "the garbage is recorded as dead",
      garbage.map(({ reason }) => reason),
      ["UNDECODABLE"],
    ),
    checkEqual("nothing else is dead", dead.length, 2),
    checkEqual(
      "the bad card died, was redriven with the mended one and succeeded",
      [mended?.state, mended?.epoch],
      ["succeeded", 2],
    ),
    checkNone(
      "the supplier failed, dropped connections and got keys again",
      (["failed", "dropped", "repeated"] as const)
        .filter((trouble) => supplier[trouble] === 0)
        .map((trouble) => `never ${trouble}`),
    ),
    {
      ok: storedPayloads.length === 1,
      claim: `the nightly export's input of over ${MESSAGE_MAX_BYTES} bytes went through S3 as one object`,
      found: `${storedPayloads.length} objects`,
    },
  ];
}

/** A handler notes its start a little after the worker counted it, and clocks tell whole milliseconds. */
const START_TOLERANCE_MS = 50;

/** In any stretch of time there are at most `burst + limit × time` starts, over all workers together. */
function proveRateLimit({ starts, supplier }: RunRecord): Check[] {
  const { limit, perMs, burst } = cardSupplier;
  const times = starts
    .filter(({ task }) => task === chargeCard.name)
    .map(({ at }) => at)
    .toSorted((a, b) => a - b);
  const excesses = times.flatMap((from, first) =>
    times.slice(first).flatMap((to, count) => {
      const allowed = Math.ceil(burst + ((to - from + START_TOLERANCE_MS) * limit) / perMs);
      return count + 1 > allowed ? [`${count + 1} starts within ${to - from} ms`] : [];
    }),
  );
  return [
    checkNone(`${times.length} starts of charge-card never above ${burst} + ${limit} a second`, excesses),
    checkEqual("the supplier never had to answer 429", supplier.tooMany, 0),
  ];
}
