import { CREATION_SHARDS, QUEUE_RETENTION_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";
import { carrierOf } from "../task/topology.ts";
import { mapBounded } from "./bounded.ts";
import type { Run } from "./recover.ts";
import { resend } from "./recover-owed.ts";
import type { Services } from "./services.ts";
import { OWED_LEAD_MS } from "./wake.ts";

/** How far each pass has come in each shard: creation times, by `pass.shard`. */
export type Cursors = Partial<Record<string, number>>;

interface Pass {
  readonly name: string;
  /** How old a task is when the pass comes by. */
  readonly ageMs: number;
  /** Later passes come by less often: what they look for is not urgent, and looking costs. */
  readonly everyMs: number;
}

/** The passes over the creation index. What the last one leaves over is owed from then on. */
const PASSES: readonly Pass[] = [
  { name: "10m", ageMs: 600_000, everyMs: 0 },
  { name: "1h", ageMs: 3_600_000, everyMs: 300_000 },
  { name: "12h", ageMs: 12 * 3_600_000, everyMs: 3_600_000 },
  { name: "3d", ageMs: 3 * 86_400_000, everyMs: 3_600_000 },
];
const PAGE = 100;
const SHARDS_AT_ONCE = 4;
/** A task this old is sent again whatever its lane holds: its message is about to expire. */
const OLD_MS = 0.75 * QUEUE_RETENTION_MS;
/** A lane seen empty on so many runs in a row has lost the messages of the tasks that still wait for one. */
const EMPTY_RUNS = 2;

/**
 * Walks the creation index at four ages and looks after the tasks that are not final and that nobody owes anything: their
 * message may be lost. While a lane holds messages, a waiting task is most likely just waiting; so it is sent again only once
 * the lane was seen empty twice, or when it is old. Answers how far the walk has come.
 */
export async function visitSlices(services: Services, run: Run, cursors: Cursors): Promise<Cursors> {
  const moved: Cursors = { ...cursors };
  const now = services.clock.now();
  for (const pass of PASSES) {
    const upTo = now - pass.ageMs;
    await mapBounded(
      Array.from({ length: CREATION_SHARDS }, (_, shard) => shard),
      SHARDS_AT_ONCE,
      async (shard) => {
        const key = `${pass.name}.${shard}`;
        // The last pass begins with the oldest task there is; the others only look at what is young.
        const from = moved[key] ?? (pass === PASSES.at(-1) ? 0 : upTo - 2 * pass.ageMs);
        if (upTo - from < pass.everyMs) return;
        moved[key] = await visitSlice(services, run, pass, shard, from, upTo);
      },
    );
  }
  return moved;
}

async function visitSlice(
  services: Services,
  run: Run,
  pass: Pass,
  shard: number,
  from: number,
  upTo: number,
): Promise<number> {
  let next: string | undefined;
  let reached = from;
  do {
    // The next page may hold tasks of the same millisecond: the next run begins with that one.
    if (services.clock.now() >= run.until || run.resendsLeft <= 0) return Math.max(from, reached - 1);
    const page = await services.backend.ledger.query({
      index: "created",
      shard,
      from: from + 1,
      until: upTo,
      limit: PAGE,
      next,
    });
    const ids = page.entries.map((entry) => entry.id);
    if (ids.length > 0) await visitPage(services, run, pass, ids);
    reached = page.entries.at(-1)?.at ?? reached;
    next = page.next;
  } while (next !== undefined);
  return upTo;
}

async function visitPage(services: Services, run: Run, pass: Pass, ids: readonly string[]): Promise<void> {
  const now = services.clock.now();
  const { ledger } = services.backend;
  run.visited += ids.length;
  // Tasks this old are rarely written to: an eventually consistent read is good enough to look, and costs half.
  const records = await ledger.readMany(ids, { eventually: true });
  const stray = records.filter((record): record is TaskRecord => record !== undefined && isStray(record, now));
  if (stray.length === 0) return;
  const old = stray.filter((record) => now - record.createdAt >= OLD_MS);
  const lost = stray.filter((record) => !old.includes(record) && isLaneEmpty(services, run, record));
  await resend(services, run, old, "retention");
  await resend(services, run, lost.slice(0, Math.max(0, run.resendsLeft)), "lost");
  if (pass !== PASSES.at(-1)) return;
  await ledger.changeMany(
    stray.map((record) => ({
      id: record.id,
      seen: record,
      patch: { set: { owedAt: now + 3 * OWED_LEAD_MS, resends: record.resends + 1 } },
    })),
  );
}

/** Not final, due, and nobody has promised to look at it. */
function isStray(record: TaskRecord, now: number): boolean {
  if (isFinal(record.state) || isGone(record, now) || record.owedAt !== undefined) return false;
  return record.state === "queued" ? record.notBefore <= now : (record.leaseUntil ?? 0) < now;
}

function isLaneEmpty(services: Services, run: Run, record: TaskRecord): boolean {
  return (run.emptyRuns.get(carrierOf(services.backend.topology, record.lane)) ?? 0) >= EMPTY_RUNS;
}
