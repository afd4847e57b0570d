import { createClient } from "../../lib/client.ts";
import type { TasklaneClient } from "../../lib/client.ts";
import { activeTraceparent } from "../../lib/flow/trace.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { MemoryBackend, MemoryBackendOptions } from "../../lib/memory/memory-backend.ts";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import type { Faults, MemoryCall } from "../../lib/memory/memory-faults.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { ReceivedMessage } from "../../lib/ports/queue.ts";
import { nextTurn } from "../../lib/system.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import type { Duration } from "../../lib/task/duration.ts";
import { parseDuration } from "../../lib/task/duration.ts";
import type { DeadLetter } from "../../lib/task/envelope.ts";
import { decodeBody } from "../../lib/task/envelope.ts";
import type { TasklaneEvent, TasklaneEventType } from "../../lib/task/events.ts";
import type { Lane } from "../../lib/task/lane.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import type { WorkerEnd, WorkerOptions } from "../../lib/worker.ts";
import { createWorker } from "../../lib/worker.ts";
import { FlowAudit } from "./flow-audit.ts";
import { FlowHost } from "./flow-host.ts";

/** What a world is made of. */
export interface WorldOptions extends Omit<MemoryBackendOptions, "clock" | "random" | "faults"> {
  readonly seed?: number | undefined;
}

/** One line that a worker logged. */
export interface LogLine {
  readonly level: string;
  readonly message: string;
  readonly fields: Readonly<Record<string, unknown>>;
}

/** A worker process of the world. */
export interface WorldWorker {
  readonly host: FlowHost;
  readonly events: readonly TasklaneEvent[];
  readonly log: readonly LogLine[];
  /** Resolves as `run()` does; never after a kill. */
  readonly ended: Promise<WorkerEnd>;
  /** How it ended, once it has. */
  end(): WorkerEnd | undefined;
  /** Asks it to stop, as SIGTERM does. */
  stop(): void;
}

/** How the world's workers differ from a plain one. */
export type WorldWorkerOptions = Omit<Partial<WorkerOptions>, "handlers" | "backend" | "clock" | "random" | "sdk">;

/** An event of one type. */
export type EventOf<Type extends TasklaneEventType> = Extract<TasklaneEvent, { type: Type }>;

/** The real client and real workers on one backend in memory, in a time that only a test moves. */
export interface FlowWorld {
  readonly clock: ManualClock;
  readonly backend: MemoryBackend;
  readonly audit: FlowAudit;
  /** The process that `client` lives in. */
  readonly producer: FlowHost;
  readonly client: TasklaneClient;
  /** Everything that happened anywhere, in order. */
  readonly events: readonly TasklaneEvent[];
  /** Every entry of every call to a store, in order. */
  readonly calls: readonly MemoryCall[];
  /** What goes wrong from now on. */
  faults: Faults | undefined;
  /** Another client, in a process of its own. */
  clientOn(host: FlowHost): TasklaneClient;
  newHost(): FlowHost;
  worker(
    handlers: readonly TaskHandler[] | ((host: FlowHost) => readonly TaskHandler[]),
    options?: WorldWorkerOptions,
  ): WorldWorker;
  /** Lets everything run that can run without time passing. */
  settle(): Promise<void>;
  /** Moves time from timer to timer. */
  advance(by: Duration | number): Promise<void>;
  /** Moves time until something is so. @throws Error if it is not within that time */
  until(isSo: () => boolean, within?: Duration): Promise<void>;
  /** Awaits something that needs time to pass. @throws Error if it takes longer */
  during<T>(work: Promise<T>, within?: Duration): Promise<T>;
  of<Type extends TasklaneEventType>(type: Type, taskId?: string): EventOf<Type>[];
  /** The record as it lies in the ledger. */
  record(id: string): TaskRecord;
  /** The dead letters of a lane, looked at without being taken. */
  letters(lane?: Lane): Promise<DeadLetter[]>;
  /** Takes what is visible in a lane. */
  take(lane?: Lane, visibilityMs?: number): Promise<ReceivedMessage[]>;
  /** Stops all workers that live. */
  close(): Promise<void>;
}

const UNTIL_DEFAULT: Duration = "1h";

/** Makes a world. Only the lane `normal` is deployed unless a spec asks for more, so that little polling is simulated. */
export async function flowWorld(options: WorldOptions = {}): Promise<FlowWorld> {
  // The trace API is loaded by the first call; from then on nothing here waits for the disk.
  await activeTraceparent();
  const clock = new ManualClock();
  const random = seededRandom(options.seed ?? 1);
  const calls: MemoryCall[] = [];
  const events: TasklaneEvent[] = [];
  const workers: WorldWorker[] = [];
  const faults: Faults = (call) => {
    calls.push(call);
    return world.faults?.(call);
  };
  const stores = createMemoryBackend({ spec: { lanes: ["normal"] }, ...options, clock, random, faults });
  const audit = new FlowAudit(stores.ledger, () => clock.now());
  const backend: MemoryBackend = { ...stores, ledger: audit.watch() };
  const newHost = (): FlowHost => new FlowHost(clock);
  const producer = newHost();
  const clientOn = (host: FlowHost): TasklaneClient =>
    createClient({ backend: host.reach(backend), clock: host.clock, random, onEvent: (event) => events.push(event) });

  /** Moves time to the next timer, if that comes by then; what it resolves has not run yet. */
  const step = (end: number): boolean => {
    const next = clock.nextTimerAt();
    if (next === undefined || next > end) return false;
    clock.advanceTo(next);
    return true;
  };

  const world: FlowWorld = {
    clock,
    backend,
    audit,
    producer,
    client: clientOn(producer),
    events,
    calls,
    faults: undefined,
    clientOn,
    newHost,
    worker(handlers, given = {}) {
      const host = newHost();
      const seen: TasklaneEvent[] = [];
      const log: LogLine[] = [];
      const stop = new AbortController();
      let end: WorkerEnd | undefined;
      const ended = createWorker({
        concurrency: 10,
        log: (level, message, fields) => log.push({ level, message, fields }),
        ...given,
        handlers: typeof handlers === "function" ? handlers(host) : handlers,
        backend: host.reach(backend),
        clock: host.clock,
        random,
        onEvent: (event) => {
          seen.push(event);
          events.push(event);
          given.onEvent?.(event);
        },
      }).run({ signal: stop.signal });
      void ended.then(
        (value) => {
          end = value;
        },
        () => undefined,
      );
      const worker: WorldWorker = { host, events: seen, log, ended, end: () => end, stop: () => stop.abort() };
      workers.push(worker);
      return worker;
    },
    settle: nextTurn,
    async advance(by) {
      const end = clock.now() + (typeof by === "number" ? by : parseDuration(by, "argument of advance()"));
      do await nextTurn();
      while (step(end));
      clock.advanceTo(end);
      await nextTurn();
    },
    async until(isSo, within = UNTIL_DEFAULT) {
      const end = clock.now() + parseDuration(within, "argument of until()");
      for (;;) {
        await nextTurn();
        if (isSo()) return;
        if (!step(end)) throw new Error(`It is not so after ${within}: ${String(isSo)}`);
      }
    },
    async during(work, within = UNTIL_DEFAULT) {
      let over = false;
      const settled = work.finally(() => {
        over = true;
      });
      settled.catch(() => undefined);
      await world.until(() => over, within);
      return settled;
    },
    of: <Type extends TasklaneEventType>(type: Type, taskId?: string) =>
      events.filter(
        (event): event is EventOf<Type> =>
          event.type === type && (taskId === undefined || ("taskId" in event && event.taskId === taskId)),
      ),
    record(id) {
      const record = audit.records.get(id);
      if (record === undefined) throw new Error(`No record of ${id} was ever written`);
      return record;
    },
    async letters(lane = "normal") {
      // The scheduler looks at dead letters too, and hides them for a moment.
      while ((await backend.queue.depth({ lane, dead: true })).inFlight > 0) await world.advance("1s");
      const messages = await backend.queue.receive({ lane, dead: true }, { max: 10, waitMs: 0, visibilityMs: 0 });
      return messages.flatMap((message) => {
        const decoded = decodeBody(message.body);
        return decoded.kind === "dead-letter" ? [decoded] : [];
      });
    },
    take: (lane = "normal", visibilityMs = 0) => backend.queue.receive({ lane }, { max: 10, waitMs: 0, visibilityMs }),
    async close() {
      world.faults = undefined;
      const alive = workers.filter(({ host }) => !host.isDead);
      for (const { host, stop } of alive) {
        host.thaw();
        stop();
      }
      await world.during(Promise.allSettled(alive.map(({ ended }) => ended)), "12h");
    },
  };
  return world;
}
