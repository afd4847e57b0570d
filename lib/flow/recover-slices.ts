import type { SeenWrite } from "../ports/ledger.ts";
import { CLOCK_SKEW_MAX_MS, CREATION_SHARDS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import { isFinal } from "../task/states.ts";
import { mapBounded } from "./bounded.ts";
import { expireLate } from "./expire.ts";
import type { Run } from "./recover-run.ts";
import { isLaneEmpty, OLD_MS, PATIENCE_MS, resend } from "./recover-run.ts";
import type { Services } from "./services.ts";

/** How far each pass has come: creation times, by `pass` for all shards, and by `pass.shard` for those that differ. */
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

/**
 * Walks the creation index at four ages and looks after the tasks that are not final and that nobody owes anything: their
 * message may be lost. While a lane holds messages, a waiting task is most likely just waiting; so it is sent again only once
 * the lane was seen empty twice, or when it is old.
 *
 * @param cursors moved on with each page, so that a walk which is ended or fails has come as far as it has
 */
export async function visitSlices(services: Services, run: Run, cursors: Cursors): Promise<void> {
  const now = services.clock.now();
  for (const pass of PASSES) {
    const upTo = now - pass.ageMs;
    const reached = await mapBounded(
      Array.from({ length: CREATION_SHARDS }, (_, shard) => shard),
      SHARDS_AT_ONCE,
      async (shard) => {
        const cursor = `${pass.name}.${shard}`;
        const known = cursors[cursor] ?? cursors[pass.name];
        const from = known === undefined || known > upTo + CLOCK_SKEW_MAX_MS ? beginningOf(pass, known, upTo) : known;
        if (upTo - from < pass.everyMs) return from;
        return (cursors[cursor] = await visitSlice(services, run, { pass, shard, from, upTo }, (at) => {
          cursors[cursor] = at;
        }));
      },
    );
    // Shards mostly keep step: one number for all of them keeps the scheduler's document within a write unit.
    const common = Math.max(...reached);
    cursors[pass.name] = common;
    for (const [shard, at] of reached.entries())
      if (at === common) Reflect.deleteProperty(cursors, `${pass.name}.${shard}`);
      else cursors[`${pass.name}.${shard}`] = at;
  }
}

/**
 * Where a walk begins that has no cursor it can trust: the last pass with the oldest task there is, the others with what is
 * young. A cursor in the future was left by a host whose clock is ahead: what it looked at was younger than it took it for.
 */
function beginningOf(pass: Pass, known: number | undefined, upTo: number): number {
  return known === undefined && pass === PASSES.at(-1) ? 0 : upTo - 2 * pass.ageMs;
}

/** What one shard's walk goes over. */
interface Slice {
  readonly pass: Pass;
  readonly shard: number;
  readonly from: number;
  readonly upTo: number;
}

async function visitSlice(
  services: Services,
  run: Run,
  { pass, shard, from, upTo }: Slice,
  note: (reached: number) => void,
): Promise<number> {
  let next: string | undefined;
  let reached = from;
  do {
    // The next page may hold tasks of the same millisecond, with which the next run begins: unless that is where this one began.
    if (services.clock.now() >= run.until && reached - from !== 1) return Math.max(from, reached - 1);
    const page = await services.backend.ledger.query({
      index: "created",
      shard,
      from: from + 1,
      until: upTo,
      limit: PAGE,
      next,
    });
    const ids = page.entries.map((entry) => entry.id);
    if (ids.length > 0 && !(await visitPage(services, run, pass, ids))) return Math.max(from, reached - 1);
    reached = page.entries.at(-1)?.at ?? reached;
    note(Math.max(from, reached - 1));
    next = page.next;
  } while (next !== undefined);
  return upTo;
}

/**
 * Looks after one page of tasks. What is lost beyond the run's limit, or could not be sent, is owed from now on, so that the
 * walk goes on; answers whether it may: the ledger has taken all that was to be written.
 */
async function visitPage(services: Services, run: Run, pass: Pass, ids: readonly string[]): Promise<boolean> {
  const now = services.clock.now();
  const { ledger } = services.backend;
  run.visited += ids.length;
  // Tasks this old are rarely written to: an eventually consistent read is good enough to look, and costs half.
  const records = await expireLate(services, await ledger.readMany(ids, { eventually: true, skipUnreadable: true }));
  const open = records.filter((record) => isLeftOver(record, now));
  const due = open.filter((record) => isDue(record, now));
  const old = due.filter((record) => now - record.createdAt >= OLD_MS);
  const lost = due.filter((record) => !old.includes(record) && isLaneEmpty(services, run, record));
  const sent = [...(await resend(services, run, old, "retention")), ...(await resend(services, run, lost, "lost"))];
  const writes: SeenWrite[] = [];
  const isLast = pass === PASSES.at(-1);
  for (const [at, record] of [...old, ...lost].entries()) {
    if (sent[at] !== true) writes.push({ id: record.id, seen: record, patch: { set: { owedAt: now } } });
    else if (isLast)
      writes.push({
        id: record.id,
        seen: record,
        patch: { set: { owedAt: now + PATIENCE_MS, resends: record.resends + 1 } },
      });
  }
  // Nobody comes by again after the last pass: whatever is not final by then is owed a look.
  for (const record of open)
    if (isLast && !due.includes(record)) {
      const owedAt = Math.max(now, record.notBefore, record.leaseUntil ?? 0) + PATIENCE_MS;
      writes.push({ id: record.id, seen: record, patch: { set: { owedAt } } });
    }
  if (writes.length === 0) return true;
  const outcomes = await ledger.changeMany(writes);
  return outcomes.every((outcome) => {
    if (outcome.kind === "failed") return false;
    // Somebody moved it while it was looked at: the last pass may not lose it.
    return !isLast || outcome.record === undefined || !isLeftOver(outcome.record, now);
  });
}

/** Not final, and nobody has promised to look at it. */
function isLeftOver(record: TaskRecord, now: number): boolean {
  return !isFinal(record.state) && !isGone(record, now) && record.owedAt === undefined;
}

/** It should be running by now, or was and its lease is over. */
function isDue(record: TaskRecord, now: number): boolean {
  return record.state === "queued" ? record.notBefore <= now : (record.leaseUntil ?? 0) < now;
}
