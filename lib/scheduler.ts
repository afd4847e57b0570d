import type { ConnectOptions, Connection } from "./connect.ts";
import { connect } from "./connect.ts";
import { Counters } from "./flow/counters.ts";
import type { RecoverOptions, RecoverReport } from "./flow/recover.ts";
import { recover } from "./flow/recover.ts";
import { waitAtMost } from "./ports/clock.ts";
import { makeServices } from "./flow/services.ts";
import type { EventListener } from "./task/events.ts";
import { checkOptions } from "./task/known-options.ts";
import type { Topology } from "./task/topology.ts";

/** No count is worth more of a run's end. */
const COUNTERS_MAX_MS = 1_000;

/** Where a scheduler finds its queue, and how its runs are bounded. */
export interface SchedulerOptions extends ConnectOptions, Pick<RecoverOptions, "maxResends"> {
  /** Default: the environment variable `TASKLANE_TOPOLOGY`, or `TASKLANE_TOPOLOGY_<QUEUE>` if `queue` is given. */
  topology?: Topology | undefined;
  /** Which queue is meant: named, another's topology is refused. Default: the one whose topology there is. */
  queue?: string | undefined;
  onEvent?: EventListener | undefined;
}

/** Looks after delayed, owed and lost tasks. Worker processes do it by themselves; this is for other hosts. */
export interface Scheduler {
  /**
   * Does what is due. Call it every minute, from as many hosts as you like: a lease in the ledger lets one of them work.
   *
   * @param options.until wall clock time, in milliseconds since 1970, at which to stop and leave the rest to the next run
   * @param options.graceMs milliseconds after that in which what has begun may end, and half of that again. Default: no bound of its own
   * @throws TasklaneError `TOPOLOGY_MISSING`, `TOPOLOGY_INVALID`, `PERMISSION_DENIED`, `RESOURCE_MISSING`, `BACKEND_UNAVAILABLE`
   */
  run(options?: Pick<RecoverOptions, "until" | "graceMs">): Promise<RecoverReport>;
  /** Lets go of sockets. */
  close(): Promise<void>;
}

const OPTIONS: readonly (keyof SchedulerOptions)[] = [
  ...(["topology", "queue", "onEvent", "maxResends"] as const),
  ...(["sdk", "clock", "random", "backend"] as const),
];

/** Makes a scheduler. It connects at its first run. @throws TasklaneError `OPTION_INVALID` */
export function createScheduler(options: SchedulerOptions = {}): Scheduler {
  checkOptions(options, OPTIONS, "OPTION_INVALID", "createScheduler");
  let connecting: Promise<Connection> | undefined;
  let counters: Counters | undefined;
  return {
    async run({ until, graceMs } = {}) {
      connecting ??= connect(options.topology, options.queue, options);
      const connection = await connecting.catch((error: unknown) => {
        connecting = undefined;
        throw error;
      });
      counters ??= new Counters({ ...connection, ledger: connection.backend.ledger }, options.onEvent);
      const services = makeServices({ ...connection, onEvent: counters.listener });
      try {
        return await recover(services, {
          holder: services.random.token(),
          until,
          graceMs,
          maxResends: options.maxResends,
        });
      } finally {
        // The tasks that it buried are dead ones like any other. A run that buried none writes nothing.
        if (counters.due()) await waitAtMost(connection.clock, counters.flush(), COUNTERS_MAX_MS);
      }
    },
    async close() {
      if (connecting !== undefined) (await connecting).backend.close();
      connecting = undefined;
    },
  };
}
