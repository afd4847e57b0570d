import { Slots } from "../control/slots.ts";
import { sleep, waitAtMost } from "../ports/clock.ts";
import type { ReceivedMessage } from "../ports/queue.ts";
import type { TaskHandler } from "../task/define-task.ts";
import type { Lane } from "../task/lane.ts";
import { ABORT_GRACE_MS, RECEIVE_LIMIT } from "../task/limits.ts";
import type { AttemptHost } from "./attempt.ts";
import type { Candidate, Delivery } from "./claim.ts";
import { groupByTask } from "./claim.ts";
import type { LeaseTimes } from "./heartbeat.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Disposal } from "./intake.ts";
import { disposeOther, sortMessage } from "./intake.ts";
import type { Waiting } from "./launch.ts";
import { Launcher } from "./launch.ts";
import { Suspects } from "./suspects.ts";
import type { Services } from "./services.ts";
import { WaitingLanes } from "./waiting-lanes.ts";

/** Where a runner's messages go back to: a worker process's queue, or the report of a function. */
export interface RunnerHost {
  acknowledge(delivery: Delivery): void;
  /** Shows the message again after so long. */
  release(delivery: Delivery, visibilityMs: number): void;
}

/** What a runner is made of. */
export interface RunnerOptions
  extends Omit<AttemptHost, "services" | "heartbeat" | "onSettleTrouble" | "onAbandoned" | "giveUp" | "abortGraceMs"> {
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly lanes: readonly Lane[];
  readonly concurrency: number;
  readonly times: LeaseTimes;
  readonly host: RunnerHost;
  /** A handler ignored its abort signal: the process should be drained and end. */
  readonly onAbandoned: () => void;
  /** Whether an attempt that starts now can end before its host does. What cannot is shown again at once. Default: always. */
  readonly canEnd?: ((handler: TaskHandler) => boolean) | undefined;
  /** How long a handler may go on after an abort before it counts as abandoned, in milliseconds. Default, and at most, 5 s. */
  readonly abortGraceMs?: (() => number) | undefined;
  /** The host acknowledges what has ended only when it stops: until then it is kept out of sight. Default false. */
  readonly keepsAcknowledged?: boolean | undefined;
}

/**
 * Takes messages in charge and brings each to its end: sorts them, admits what may start, claims, runs, settles. It claims
 * only what starts now: what waits for a slot is kept out of sight, and what must wait longer is put back.
 *
 * A task whose last attempt ended without a word is a suspect: it is taken over alone, when nothing else runs here, so that
 * one pill never takes its neighbours to the dead.
 */
export class Runner {
  readonly #services: Services;
  readonly #options: RunnerOptions;
  readonly #heartbeat: Heartbeat;
  readonly #slots: Slots;
  readonly #waiting: WaitingLanes;
  readonly #suspects: Suspects;
  readonly #work = new Set<Promise<void>>();
  readonly #launching = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #giveUp = new AbortController();
  readonly #launcher: Launcher;
  readonly #watchers = new Set<() => void>();
  #worked = false;
  #abortGraceMs = ABORT_GRACE_MS;
  #solo = false;
  #settleTroubles = 0;

  constructor(services: Services, options: RunnerOptions) {
    this.#services = services;
    this.#options = options;
    this.#heartbeat = new Heartbeat(services, options.times);
    this.#slots = new Slots(options.lanes, options.concurrency);
    this.#waiting = new WaitingLanes(services.clock, options.times.leaseMs, (candidate) =>
      this.#track(this.#launcher.passOn(candidate, "busy")),
    );
    this.#suspects = new Suspects(services.clock, options.times.leaseMs, (candidate) =>
      this.#track(this.#launcher.passOn(candidate, "suspect")),
    );
    this.#launcher = new Launcher({
      attempts: {
        ...options,
        services,
        heartbeat: this.#heartbeat,
        giveUp: this.#giveUp.signal,
        abortGraceMs: () => Math.min(this.#abortGraceMs, options.abortGraceMs?.() ?? ABORT_GRACE_MS),
        onSettleTrouble: (troubled) => {
          this.#settleTroubles += troubled ? 1 : -1;
          // What waits here may start elsewhere meanwhile.
          if (troubled) this.#releaseWaiting();
          else this.#pump();
        },
      },
      times: options.times,
      stop: this.#stop.signal,
      dispose: (delivery, disposal) => this.#dispose(delivery, disposal),
      keepSuspect: (candidate, record) => !this.#stop.signal.aborted && this.#suspects.keep(candidate, record),
      finish: (candidate, work) => this.#finish(candidate, work),
    });
  }

  /** How many messages of a lane could start now. 0 while something keeps new work from starting. */
  capacity(lane: Lane): number {
    if (this.#gated() || this.#suspects.size > 0 || this.#waiting.count(lane) > 0) return 0;
    return this.#free(lane);
  }

  /** Consecutive claims that the ledger did not answer: a poller waits longer the more there are. */
  get claimTroubles(): number {
    return this.#launcher.claimTroubles;
  }

  /** Whether a message has ever been taken in charge. */
  get hasWorked(): boolean {
    return this.#worked;
  }

  /** Resolves when something ended, so that there may be capacity again, or when the signal aborts. */
  changed(signal: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      const done = (): void => {
        signal.removeEventListener("abort", done);
        this.#watchers.delete(done);
        resolve();
      };
      if (signal.aborted) return done();
      signal.addEventListener("abort", done, { once: true });
      this.#watchers.add(done);
    });
  }

  /** Handlers that run now. */
  get running(): number {
    return this.#launcher.attempts.size;
  }

  /** Takes messages in charge. */
  offer(lane: Lane, messages: readonly ReceivedMessage[]): void {
    this.#worked = true;
    const deliveries = messages.map((message): Delivery => ({ lane, message }));
    for (const delivery of deliveries) this.#heartbeat.add(delivery);
    if (this.#stop.signal.aborted || this.#settleTroubles > 0) return this.#releaseAll(deliveries);
    this.#sort(deliveries.filter((delivery) => delivery.message.receiveCount < 3));
    // A message that came three times may kill whoever reads it: the others are claimed first.
    const doubtful = deliveries.filter((delivery) => delivery.message.receiveCount >= 3);
    if (doubtful.length > 0) this.#track(this.#sortAlone(doubtful));
  }

  /** Resolves when nothing is left in charge. */
  async idle(): Promise<void> {
    while (this.#work.size > 0 || this.#suspects.size > 0 || !this.#waiting.isEmpty) {
      await Promise.race([...this.#work, ...(this.#work.size === 0 ? [sleep(this.#services.clock, 10)] : [])]);
    }
  }

  /**
   * Stops: what has not started is shown again at once, running handlers may go on, and are aborted towards the end of the
   * grace. Answers how many were interrupted.
   *
   * @param lastMs the last part of the grace, which is for handlers to see their signal, and for what they come to to be settled
   */
  async stop(graceMs: number, lastMs: number = Math.min(5_000, graceMs / 4)): Promise<number> {
    this.#stop.abort();
    this.#releaseWaiting();
    const done = this.idle();
    const { clock } = this.#services;
    this.#abortGraceMs = lastMs / 2;
    await waitAtMost(clock, done, graceMs - lastMs);
    const interrupted = this.#launcher.interrupt();
    await waitAtMost(clock, done, lastMs);
    this.#giveUp.abort();
    this.#heartbeat.stop();
    return interrupted;
  }

  #gated(): boolean {
    return this.#stop.signal.aborted || this.#solo || this.#settleTroubles > 0;
  }

  /** Slots that the lane may take: one in which nothing waits lends its own. */
  #free(lane: Lane): number {
    return this.#slots.free(lane, (other) => this.#waiting.count(other) > 0);
  }

  #track(work: Promise<void>, kind: Set<Promise<void>> = this.#work): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) => this.#services.emit({ type: "internal-error", error: String(error) }))
      .finally(() => {
        this.#work.delete(tracked);
        kind.delete(tracked);
        this.#changed();
      });
    this.#work.add(tracked);
    kind.add(tracked);
  }

  async #sortAlone(deliveries: readonly Delivery[]): Promise<void> {
    for (const delivery of deliveries) {
      await Promise.all(this.#launching);
      // Whoever stopped meanwhile waits for nothing that is sorted now.
      if (this.#stop.signal.aborted) this.#releaseAll([delivery]);
      else this.#sort([delivery]);
    }
  }

  #sort(deliveries: readonly Delivery[]): void {
    const known: { delivery: Delivery; envelope: Candidate["envelope"]; handler: TaskHandler }[] = [];
    for (const delivery of deliveries) {
      const sorted = sortMessage(this.#services, this.#options.handlers, delivery);
      if (sorted.kind === "candidate") known.push(sorted);
      else
        this.#track(
          disposeOther(this.#services, delivery, sorted.decoded).then((disposal) => this.#dispose(delivery, disposal)),
        );
    }
    for (const group of groupByTask(known)) {
      const handler = this.#options.handlers.get(group.envelope.task);
      if (handler !== undefined) this.#waiting.add({ ...group, handler });
    }
    this.#pump();
    this.#waiting.passOnLater();
  }

  /** Starts whatever may start now, most urgent lanes first. */
  #pump(): void {
    if (this.#gated()) return;
    if (this.#suspects.size > 0) {
      if (this.#slots.used === 0 && this.#launching.size === 0) this.#startSolo();
      return;
    }
    for (const lane of this.#options.lanes) {
      for (const candidate of this.#waiting.removeUnless(lane, (each) => this.#canEnd(each))) this.#giveBack(candidate);
      const batch = this.#waiting.take(lane, this.#free(lane));
      if (batch.length === 0) continue;
      for (const candidate of batch) this.#slots.take(candidate.delivery.lane);
      this.#track(this.#launcher.launch(batch), this.#launching);
    }
  }

  /** Whether an attempt that starts now can end in time. What cannot is shown again. */
  #canEnd({ handler }: Waiting): boolean {
    return this.#options.canEnd?.(handler) !== false;
  }

  /** Shows again what has not started. What came often is sent anew: however often it finds no time, its receives are not used up. */
  #giveBack(candidate: Waiting): void {
    const { delivery, copies } = candidate;
    if (delivery.message.receiveCount < RECEIVE_LIMIT / 2) return this.#releaseAll([delivery, ...copies]);
    this.#track(this.#launcher.passOn(candidate, "busy"));
  }

  #startSolo(): void {
    const suspect = this.#suspects.next();
    if (suspect === undefined) return;
    const { candidate, record } = suspect;
    // It would find no more time behind its next neighbours: it goes to where there are none.
    if (!this.#canEnd(candidate)) return this.#track(this.#launcher.passOn(candidate, "suspect"));
    this.#solo = true;
    const end = (): void => {
      this.#solo = false;
      this.#changed();
    };
    // Whatever takes its process down has mostly done so within a lease: a long task must not keep the others waiting.
    const proved = this.#services.clock.timer(this.#options.times.leaseMs, end);
    this.#slots.take(candidate.delivery.lane);
    this.#finish(
      candidate,
      this.#launcher.takeOver(candidate, record).finally(() => {
        proved.cancel();
        end();
      }),
    );
  }

  /** Something ended: there may be room again. */
  #changed(): void {
    this.#pump();
    for (const wake of this.#watchers) wake();
  }

  /** Frees the candidate's slot when its work has ended. */
  #finish(candidate: Waiting, work: Promise<void>): void {
    const guarded = work.catch((error: unknown) => {
      // Whatever went wrong in our own code, the message must not be kept out of sight for ever.
      this.#dispose(candidate.delivery, { kind: "release", visibilityMs: this.#options.times.leaseMs });
      throw error;
    });
    this.#track(guarded.finally(() => this.#slots.give(candidate.delivery.lane)));
  }

  #dispose(delivery: Delivery, disposal: Disposal): void {
    if (disposal.kind === "acknowledge" && this.#options.keepsAcknowledged === true) this.#heartbeat.release(delivery);
    else this.#heartbeat.remove(delivery);
    if (disposal.kind === "acknowledge") this.#options.host.acknowledge(delivery);
    else if (disposal.kind === "release") this.#options.host.release(delivery, disposal.visibilityMs);
  }

  #releaseWaiting(): void {
    for (const candidate of [...this.#waiting.clear(), ...this.#suspects.clear()]) this.#giveBack(candidate);
  }

  #releaseAll(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.#dispose(delivery, { kind: "release", visibilityMs: 0 });
  }
}
