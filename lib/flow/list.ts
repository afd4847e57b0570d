import { CREATION_SHARDS, SPARSE_SHARDS } from "../task/limits.ts";
import type { IndexQuery } from "../ports/ledger.ts";
import type { Duration } from "../task/duration.ts";
import { parseDuration } from "../task/duration.ts";
import { TasklaneError } from "../task/errors.ts";
import { checkOptions } from "../task/known-options.ts";
import type { TaskRecord } from "../task/record.ts";
import { isGone } from "../task/record.ts";
import type { TaskState } from "../task/states.ts";
import { isTaskState, TASK_STATES } from "../task/states.ts";
import type { TaskDetails } from "../task/task-ref.ts";
import type { Services } from "./services.ts";
import { detailsOf } from "./task-handle.ts";

/** Which tasks to list. */
export interface ListOptions {
  state?: TaskState | undefined;
  /** Name of a task. */
  task?: string | undefined;
  /** How far back to look: by time of death for `dead`, of creation for the rest. Default `"24h"`, and 30 days for `dead`. */
  within?: Duration | undefined;
  /** Ends after so many tasks. Default: none. */
  limit?: number | undefined;
}

/** A walk over tasks, newest first within each shard of the index. */
export interface TaskList extends AsyncIterable<TaskDetails> {
  /** Tasks older than this were not looked at, in milliseconds since 1970. */
  readonly since: number;
}

const PAGE = 100;
const DEAD_WITHIN: Duration = "30d";
const OTHERS_WITHIN: Duration = "24h";

/**
 * Lists tasks. Dead ones come from an index of their own; for any other state a window of creation time is walked and each
 * record looked at, so that listing costs reads in proportion to the tasks in that window.
 *
 * @throws TasklaneError `OPTION_INVALID`, `DURATION_INVALID`
 */
export function listTasks(connect: () => Promise<Services>, options: ListOptions, now: number): TaskList {
  checkOptions(options, ["state", "task", "within", "limit"], "OPTION_INVALID", "list()");
  if (options.state !== undefined && !isTaskState(options.state))
    throw new TasklaneError("OPTION_INVALID", {
      what: "There is no such state to list",
      received: options.state,
      expected: TASK_STATES.join(", "),
      fix: 'a task that failed for good is "dead"',
    });
  const dead = options.state === "dead";
  const since = now - parseDuration(options.within ?? (dead ? DEAD_WITHIN : OTHERS_WITHIN), "within of list()");
  return {
    since,
    async *[Symbol.asyncIterator]() {
      const services = await connect();
      let left = options.limit ?? Number.POSITIVE_INFINITY;
      for await (const record of walk(services, dead, since)) {
        if (left <= 0) return;
        if (options.state !== undefined && record.state !== options.state) continue;
        if (options.task !== undefined && record.task !== options.task) continue;
        left--;
        yield detailsOf(record);
      }
    },
  };
}

async function* walk(services: Services, dead: boolean, since: number): AsyncGenerator<TaskRecord> {
  const shards = dead ? SPARSE_SHARDS : CREATION_SHARDS;
  for (let shard = 0; shard < shards; shard++) {
    let next: string | undefined;
    do {
      const until = services.clock.now() + 60_000;
      const query: IndexQuery = {
        index: dead ? "dead" : "created",
        shard,
        from: since,
        until,
        limit: PAGE,
        next,
        newestFirst: true,
      };
      const page = await services.backend.ledger.query(query);
      const records = await services.backend.ledger.readMany(
        page.entries.map((entry) => entry.id),
        { skipUnreadable: true },
      );
      for (const record of records) if (record !== undefined && !isGone(record, services.clock.now())) yield record;
      next = page.next;
    } while (next !== undefined);
  }
}
