import { createClient } from "../client.ts";
import type { TasklaneClient } from "../client.ts";
import { AcknowledgeBuffer } from "../flow/acknowledge.ts";
import { Producer } from "../flow/producer.ts";
import { recover } from "../flow/recover.ts";
import { Runner } from "../flow/runner.ts";
import { makeServices } from "../flow/services.ts";
import type { Services } from "../flow/services.ts";
import { withinTrace } from "../flow/trace.ts";
import { visibilityOf } from "../flow/heartbeat.ts";
import { ManualClock } from "../memory/manual-clock.ts";
import { createMemoryBackend } from "../memory/memory-backend.ts";
import type { MemoryBackend } from "../memory/memory-backend.ts";
import { seededRandom } from "../memory/seeded-random.ts";
import { nextTurn } from "../system.ts";
import type { AnyTask, TaskHandler } from "../task/define-task.ts";
import type { Duration } from "../task/duration.ts";
import { parseDuration } from "../task/duration.ts";
import type { TasklaneEvent } from "../task/events.ts";
import { checkOptions } from "../task/known-options.ts";
import { SPARSE_SHARDS, SQS_BATCH_MAX_ENTRIES } from "../task/limits.ts";
import type { TaskDetails } from "../task/task-ref.ts";
import type { TopologySpec } from "../task/topology.ts";
import { deployedLanes } from "../task/topology.ts";
import { watchResults } from "./standing-clock.ts";

/** What a memory queue is made of. */
export interface MemoryQueueOptions {
  handlers?: readonly TaskHandler[] | undefined;
  /** Handlers at once. Default 20. */
  concurrency?: number | undefined;
  /** Lanes and limits. Default: all four. */
  spec?: TopologySpec | undefined;
  /** Seeds jitter and ids, so that a run repeats. Default 1. */
  seed?: number | undefined;
  /** When the clock starts, in milliseconds since 1970. Default the first of January 2026. */
  now?: number | undefined;
}

/** The whole queue in memory, on a clock that stands still until it is moved: enqueue, run, retry and recover are the real code. */
export interface MemoryTaskQueue {
  readonly client: TasklaneClient;
  /** Moves only by `advance` and `drain`. */
  readonly clock: ManualClock;
  /** Everything that happened, in order. */
  readonly events: readonly TasklaneEvent[];
  /** The stores, to look at and to tamper with. */
  readonly backend: MemoryBackend;
  /**
   * Runs tasks until nothing is left that is due within the horizon, moving the clock over the waits of retries and snoozes.
   * Default horizon `"1h"`: the default retries of a task fit, a task for next week stays. A handler's real work is waited for.
   */
  drain(options?: { within?: Duration | undefined }): Promise<void>;
  /** Moves the clock by so much, running whatever falls due on the way. */
  advance(by: Duration): Promise<void>;
  /** The tasks of a definition, oldest first, with their history. */
  tasks(definition: AnyTask): Promise<TaskDetails[]>;
}

const LEASE = { leaseMs: 30_000, skewMs: 5_000 };
const SCHEDULER_EVERY_MS = 60_000;

/** Makes a queue in memory for tests of an app: no network, no waiting, the same outcome each time. */
export function createMemoryQueue(options: MemoryQueueOptions = {}): MemoryTaskQueue {
  checkOptions(options, ["handlers", "concurrency", "spec", "seed", "now"], "OPTION_INVALID", "createMemoryQueue");
  const clock = new ManualClock(options.now);
  const random = seededRandom(options.seed ?? 1);
  const backend = createMemoryBackend({ clock, random, spec: options.spec });
  const events: TasklaneEvent[] = [];
  let handlersRunning = 0;
  const onEvent = (event: TasklaneEvent): void => {
    events.push(event);
    if (event.type === "attempt-started") handlersRunning++;
    else if (event.type === "attempt-ended" && started.delete(event.taskId)) handlersRunning--;
    if (event.type === "attempt-started") started.add(event.taskId);
  };
  const started = new Set<string>();
  const services = makeServices({ backend, clock, random, onEvent });
  const client = createClient({ backend, clock, random, onEvent });
  const driver = new Driver(services, clock, backend, options, () => handlersRunning);
  let drives = 0;
  const drive = (end: number, toTheEnd: boolean): Promise<void> => {
    drives++;
    return driver.runUntil(end, toTheEnd).finally(() => drives--);
  };
  const named = new Set((options.handlers ?? []).map(({ definition }) => definition.name));
  const isDriven = (): boolean => drives > 0;
  return {
    client: watchResults(client, { clock, isDriven, hasHandler: (task) => named.has(task) }),
    clock,
    events,
    backend,
    drain: (given) => drive(clock.now() + parseDuration(given?.within ?? "1h", "within of drain()"), false),
    advance: (by) => drive(clock.now() + parseDuration(by, "argument of advance()"), true),
    tasks: async (definition) => {
      const found: TaskDetails[] = [];
      for await (const task of client.list({ task: definition.name, within: "36500d" }))
        found.push(await client.task(definition, task.id).get());
      return found.sort((one, other) => one.createdAt - other.createdAt);
    },
  };
}

/** Drives the real runner on a clock that stands still. */
class Driver {
  readonly #services: Services;
  readonly #clock: ManualClock;
  readonly #backend: MemoryBackend;
  readonly #runner: Runner;
  readonly #acknowledgements: AcknowledgeBuffer;
  readonly #handlersRunning: () => number;
  #recoveredAt = Number.NEGATIVE_INFINITY;

  constructor(
    services: Services,
    clock: ManualClock,
    backend: MemoryBackend,
    options: MemoryQueueOptions,
    handlersRunning: () => number,
  ) {
    this.#services = services;
    this.#clock = clock;
    this.#backend = backend;
    this.#handlersRunning = handlersRunning;
    this.#acknowledgements = new AcknowledgeBuffer(services);
    const producer = new Producer(services);
    this.#runner = new Runner(services, {
      handlers: new Map((options.handlers ?? []).map((handler) => [handler.definition.name, handler])),
      lanes: deployedLanes(backend.topology),
      concurrency: options.concurrency ?? 20,
      times: LEASE,
      log: () => undefined,
      worker: "memory",
      enqueue: (parent) => producer.childOf(parent),
      traced: withinTrace,
      host: this.#acknowledgements,
      onAbandoned: () => undefined,
    });
  }

  /** Runs what is due at each moment up to a time; `toTheEnd` moves the clock there even if nothing happens. */
  async runUntil(end: number, toTheEnd: boolean): Promise<void> {
    for (;;) {
      await this.#runDue();
      const next = await this.#nextMoment();
      if (next === undefined || next > end) break;
      if (next > this.#clock.now()) this.#clock.advanceTo(next);
      await this.#recoverIfOwed();
    }
    if (toTheEnd && end > this.#clock.now()) this.#clock.advanceTo(end);
  }

  async #runDue(): Promise<void> {
    for (;;) {
      const received = await this.#receive();
      await this.#idle();
      await this.#acknowledgements.flush();
      if (!received) return;
    }
  }

  async #receive(): Promise<boolean> {
    let received = false;
    for (const lane of deployedLanes(this.#backend.topology)) {
      const max = Math.min(SQS_BATCH_MAX_ENTRIES, this.#runner.capacity(lane));
      if (max === 0) continue;
      const messages = await this.#backend.queue.receive(
        { lane },
        { max, waitMs: 0, visibilityMs: visibilityOf(LEASE) },
      );
      if (messages.length > 0) this.#runner.offer(lane, messages);
      received ||= messages.length > 0;
    }
    return received;
  }

  /** Waits until the runner holds nothing; the clock moves only while no handler does real work. */
  async #idle(): Promise<void> {
    let done = false;
    const idle = this.#runner.idle().finally(() => {
      done = true;
    });
    while (!done) {
      for (let turn = 0; turn < 10 && !done; turn++) await nextTurn();
      const next = this.#clock.nextTimerAt();
      if (!done && next !== undefined && this.#handlersRunning() === 0)
        this.#clock.advanceTo(Math.max(next, this.#clock.now()));
    }
    await idle;
  }

  /** When something will be due next: a message that becomes visible, or a task that the scheduler owes one. */
  async #nextMoment(): Promise<number | undefined> {
    const visibleAt = this.#backend.queue.nextVisibleAt();
    const owedAt = await this.#nextOwedAt();
    const recoverAt = owedAt === undefined ? undefined : Math.max(owedAt, this.#recoveredAt + SCHEDULER_EVERY_MS);
    const moments = [visibleAt, recoverAt].filter((at) => at !== undefined);
    return moments.length === 0 ? undefined : Math.min(...moments);
  }

  async #nextOwedAt(): Promise<number | undefined> {
    const firsts = await Promise.all(
      Array.from({ length: SPARSE_SHARDS }, async (_, shard) => {
        const until = Number.MAX_SAFE_INTEGER;
        const page = await this.#backend.ledger.query({ index: "owed", shard, from: 0, until, limit: 1 });
        return page.entries[0]?.at;
      }),
    );
    const times = firsts.filter((at) => at !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  async #recoverIfOwed(): Promise<void> {
    const now = this.#clock.now();
    const owedAt = await this.#nextOwedAt();
    if (owedAt === undefined || owedAt > now || now < this.#recoveredAt + SCHEDULER_EVERY_MS) return;
    this.#recoveredAt = now;
    await recover(this.#services, { holder: "memory" });
  }
}
