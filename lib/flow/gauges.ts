import type { Gauges } from "../task/events.ts";
import type { GaugeMetric } from "../task/metrics.ts";
import { SPARSE_SHARDS } from "../task/limits.ts";
import { isGone } from "../task/record.ts";
import type { Run } from "./recover-run.ts";
import type { Services } from "./services.ts";

/** Dead tasks are counted up to here, an equal part in each shard: more of them say nothing new, and counting costs reads. */
const DEAD_MAX = 1_000;
/** So many of the oldest dead tasks are read, to find one whose time is not over yet. */
const OLDEST_DEAD = 10;

/** Counts the dead tasks, and tells how long the oldest one's record is kept. @throws TasklaneError */
export async function measureDead(services: Services): Promise<Pick<Gauges, "deadTasks" | "deadTaskTimeLeftMs">> {
  const { ledger } = services.backend;
  const pages = await Promise.all(
    Array.from({ length: SPARSE_SHARDS }, (_, shard) =>
      ledger.query({ index: "dead", shard, from: 0, until: Number.MAX_SAFE_INTEGER, limit: DEAD_MAX / SPARSE_SHARDS }),
    ),
  );
  const oldest = pages.flatMap(({ entries }) => entries).sort((one, other) => one.at - other.at);
  const deadTasks = oldest.length;
  if (deadTasks === 0) return { deadTasks };
  const ids = oldest.slice(0, OLDEST_DEAD).map(({ id }) => id);
  const now = services.clock.now();
  const records = await ledger.readMany(ids, { eventually: true, skipUnreadable: true });
  // Index and records are both eventually consistent, and the store removes late: not all that was counted is a dead task still.
  const kept = records.filter((record) => record?.state === "dead" && !isGone(record, now));
  const times = kept.flatMap((record) => (record?.expiresAt === undefined ? [] : [record.expiresAt - now]));
  const counted = deadTasks - (ids.length - kept.length);
  return times[0] === undefined ? { deadTasks: counted } : { deadTasks: counted, deadTaskTimeLeftMs: times[0] };
}

/**
 * How overdue the oldest owed task was when the run began, in milliseconds. Paying reads the oldest anyway; only the shards that
 * it had no messages left for are looked at here.
 *
 * @throws TasklaneError
 */
export async function measureOwed(services: Services, run: Run, began: number): Promise<number> {
  const times = [...run.oldestOwed.values()];
  for (let shard = 0; shard < SPARSE_SHARDS && services.clock.now() < run.until; shard++)
    if (!run.oldestOwed.has(shard)) {
      const query = { index: "owed", shard, from: 0, until: began, limit: 1 } as const;
      times.push((await services.backend.ledger.query(query)).entries[0]?.at);
    }
  return Math.max(0, ...times.map((at) => (at === undefined ? 0 : began - at)));
}

/** Gauges under the names of their CloudWatch metrics, in the metrics' units. What could not be measured is left out. */
export function gaugeMetrics(gauges: Gauges): Partial<Record<GaugeMetric, number>> {
  const { deadTasks, deadTaskTimeLeftMs, oldestOwedMs } = gauges;
  return {
    DeadTasks: deadTasks,
    OldestTaskAge: oldestOwedMs / 1_000,
    ...(deadTaskTimeLeftMs === undefined ? {} : { DeadTaskTimeLeft: deadTaskTimeLeftMs / 1_000 }),
  };
}
