import type { Lane } from "../task/lane.ts";
import { QUEUE_RETENTION_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import { carrierOf } from "../task/topology.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import { sendWakeUps, wakeUp } from "./wake.ts";

/** Milliseconds: after its message was sent, a task gets this long to be claimed before it is looked at again. */
export const PATIENCE_MS = 900_000;
/** A message this old is about to expire. */
export const OLD_MS: number = 0.75 * QUEUE_RETENTION_MS;
/** A lane seen empty on so many runs in a row has lost the messages of the tasks that still wait for one. */
const EMPTY_RUNS = 2;

/** What the steps of one run of the scheduler share. */
export interface Run {
  readonly until: number;
  /** Messages that may still be sent again. */
  resendsLeft: number;
  owed: number;
  resent: number;
  visited: number;
  buried: number;
  /** On how many runs in a row each lane was seen empty, this one included. */
  readonly emptyRuns: ReadonlyMap<Lane, number>;
  /** The oldest entry of each shard of the owed index that the run has come to, before it paid any; `undefined` if it was empty. */
  readonly oldestOwed: Map<number, number | undefined>;
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
