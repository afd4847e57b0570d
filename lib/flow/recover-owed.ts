import type { SeenWrite } from "../ports/ledger.ts";
import { QUEUE_RETENTION_MS, RESENDS_MAX, SPARSE_SHARDS, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { RecordPatch, TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";
import { carrierOf } from "../task/topology.ts";
import { buryQueued } from "./dead-letter.ts";
import { expireLate } from "./expire.ts";
import type { Run } from "./recover.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import { owedAtOf, sendWakeUps, wakeUp } from "./wake.ts";

const PAGE = 100;
/** Milliseconds: after its message was sent, a task gets this long to be claimed before it is looked at again. */
export const PATIENCE_MS = 900_000;
/** A message this old is about to expire. */
export const OLD_MS: number = 0.75 * QUEUE_RETENTION_MS;
/** A lane seen empty on so many runs in a row has lost the messages of the tasks that still wait for one. */
const EMPTY_RUNS = 2;

/** What is to be done about a task that is owed something. */
type Due =
  | { readonly kind: "forget" }
  | { readonly kind: "wait"; readonly owedAt: number }
  | { readonly kind: "send"; readonly owedAt: number }
  | { readonly kind: "bury" };

/** Sends what is owed: far tasks whose time comes near, sends that failed, redrives, stragglers. */
export async function payOwed(services: Services, run: Run): Promise<void> {
  for (let shard = 0; shard < SPARSE_SHARDS; shard++) {
    let next: string | undefined;
    do {
      if (services.clock.now() >= run.until || run.resendsLeft <= 0) return;
      const until = services.clock.now();
      const page = await services.backend.ledger.query({ index: "owed", shard, from: 0, until, limit: PAGE, next });
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
      if ((await buryQueued(services, record, "UNCLAIMABLE", why)) !== "moved-on") run.buried++;
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

/** Whether the lane that carries a task was seen empty often enough to say that its message is lost. */
export function isLaneEmpty(services: Services, run: Run, record: TaskRecord): boolean {
  return (run.emptyRuns.get(carrierOf(services.backend.topology, record.lane)) ?? 0) >= EMPTY_RUNS;
}

/** Sends tasks' messages again, as many as the run may still send. Answers which were taken. */
export async function resend(
  services: Services,
  run: Run,
  records: readonly TaskRecord[],
  because: "owed" | "lost" | "retention",
): Promise<boolean[]> {
  const allowed = records.slice(0, Math.max(0, run.resendsLeft));
  // Taken before anything is awaited: shards are walked side by side.
  run.resendsLeft -= allowed.length;
  const answers = await sendWakeUps(
    services,
    allowed.map((record) => wakeUp(services, record, record.input.at === "record" ? record.input.json : undefined)),
  );
  return records.map((record, at) => {
    const answer = answers[at];
    if (answer === undefined) return false;
    if (!answer.ok) {
      run.resendsLeft++;
      return false;
    }
    run.resent++;
    services.emit({ type: "resent", because, resends: record.resends + 1, ...markOf(record) });
    return true;
  });
}
