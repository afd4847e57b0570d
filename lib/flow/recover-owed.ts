import type { SeenWrite } from "../ports/ledger.ts";
import { RESENDS_MAX, SPARSE_SHARDS, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { RecordPatch, TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";
import { buryUntaken } from "./dead-letter.ts";
import { expireLate } from "./expire.ts";
import type { Run } from "./recover-run.ts";
import { isLaneEmpty, OLD_MS, PATIENCE_MS, resend } from "./recover-run.ts";
import type { Services } from "./services.ts";
import { owedAtOf } from "./wake.ts";

const PAGE = 100;
/** How long the same shard comes first: the time from one run to the next. */
const TURN_MS = 60_000;
/** What is to be done about a task that is owed something. */
type Due =
  | { readonly kind: "forget" }
  | { readonly kind: "wait"; readonly owedAt: number }
  | { readonly kind: "send"; readonly owedAt: number }
  | { readonly kind: "bury" };

/** Sends what is owed: far tasks whose time comes near, sends that failed, redrives, stragglers. */
export async function payOwed(services: Services, run: Run): Promise<void> {
  // Each run begins with another shard, so that none is left for later each time where a run does not come to all of them.
  const first = Math.floor(services.clock.now() / TURN_MS);
  for (let step = 0; step < SPARSE_SHARDS; step++) {
    const shard = (first + step) % SPARSE_SHARDS;
    let next: string | undefined;
    do {
      if (services.clock.now() >= run.until || run.resendsLeft <= 0) return;
      const until = services.clock.now();
      const page = await services.backend.ledger.query({ index: "owed", shard, from: 0, until, limit: PAGE, next });
      if (next === undefined) run.oldestOwed.set(shard, page.entries[0]?.at);
      await payPage(
        services,
        run,
        page.entries.map((entry) => entry.id),
      );
      next = page.next;
    } while (next !== undefined);
  }
}

async function payPage(services: Services, run: Run, ids: readonly string[]): Promise<void> {
  if (ids.length === 0) return;
  const now = services.clock.now();
  const records = await expireLate(services, await services.backend.ledger.readMany(ids, { skipUnreadable: true }));
  const due = records.map((record) => ({ record, plan: planOwed(record, now, isLaneEmpty(services, run, record)) }));
  run.owed += due.length;
  for (const { record, plan } of due)
    if (plan.kind === "bury") {
      const why = `sent again ${record.resends} times, and no worker claimed it`;
      if ((await buryUntaken(services, record, "UNCLAIMABLE", why)) === "buried") run.buried++;
    }
  const toSend = due.filter(({ plan }) => plan.kind === "send");
  const sent = await resend(
    services,
    run,
    toSend.map(({ record }) => record),
    "owed",
  );
  const writes: SeenWrite[] = [];
  // Sent first, moved on then: a crash in between sends once more.
  for (const [at, { record, plan }] of toSend.entries())
    if (sent[at] === true && plan.kind === "send")
      writes.push(write(record, { set: { owedAt: plan.owedAt, resends: record.resends + 1 } }));
  for (const { record, plan } of due) {
    if (plan.kind === "forget") writes.push(write(record, { set: {}, remove: ["owedAt"] }));
    if (plan.kind === "wait") writes.push(write(record, { set: { owedAt: plan.owedAt } }));
  }
  if (writes.length > 0) await services.backend.ledger.changeMany(writes);
}

function write(record: TaskRecord, patch: RecordPatch): SeenWrite {
  return { id: record.id, seen: record, patch };
}

/**
 * Decides by the record and its lane alone: a pure function. Only a final write removes `owedAt`; everything else moves it
 * forward. While its lane holds messages a task may just be waiting for a worker, so only an empty lane can tell that nobody
 * claims it.
 */
export function planOwed(record: TaskRecord, now: number, laneEmpty: boolean): Due {
  if (isFinal(record.state) || isGone(record, now)) return { kind: "forget" };
  // Moved on since the index was read.
  if (record.owedAt !== undefined && record.owedAt > now) return { kind: "wait", owedAt: record.owedAt };
  if (record.notBefore - now > SQS_DELAY_MAX_MS) return { kind: "wait", owedAt: owedAtOf(record.notBefore) };
  const patienceMs = Math.min(OLD_MS, PATIENCE_MS * 2 ** record.resends);
  if (record.state === "running" && (record.leaseUntil ?? 0) > now - PATIENCE_MS / 15)
    return { kind: "wait", owedAt: Math.max(now, record.leaseUntil ?? now) + PATIENCE_MS };
  if (record.resends >= RESENDS_MAX && laneEmpty) return { kind: "bury" };
  return { kind: "send", owedAt: Math.max(now, record.notBefore) + patienceMs };
}
