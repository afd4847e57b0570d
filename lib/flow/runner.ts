import { Slots } from "../control/slots.ts";
import { sleep } from "../ports/clock.ts";
import type { ReceivedMessage } from "../ports/queue.ts";
import type { Claim, WriteOutcome } from "../ports/ledger.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import { EARLY_WAIT_MAX_MS, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Admission, StartWindow } from "./admission.ts";
import { Admissions } from "./admission.ts";
import type { AttemptHost } from "./attempt.ts";
import { RunningAttempt } from "./attempt.ts";
import type { Candidate, Delivery, Verdict } from "./claim.ts";
import { groupByTask, judgeClaim } from "./claim.ts";
import { sendDeadLetter } from "./dead-letter.ts";
import type { LeaseTimes } from "./heartbeat.ts";
import { Heartbeat } from "./heartbeat.ts";
import type { Disposal } from "./intake.ts";
import { disposeOther, sortMessage } from "./intake.ts";
import { abortReason } from "./run.ts";
import type { Services } from "./services.ts";
import { sendWakeUps, wakeUpAgain } from "./wake.ts";

/** Where a runner's messages go back to: a worker process's queue, or the report of a function. */
export interface RunnerHost {
  acknowledge(delivery: Delivery): void;
  /** Shows the message again after so long. */
  release(delivery: Delivery, visibilityMs: number): void;
}

/** What a runner is made of. */
export interface RunnerOptions extends Omit<AttemptHost, "services" | "heartbeat" | "onSettleTrouble" | "onAbandoned"> {
  readonly handlers: ReadonlyMap<string, TaskHandler>;
  readonly lanes: readonly Lane[];
  readonly concurrency: number;
  readonly times: LeaseTimes;
  readonly host: RunnerHost;
  /** A handler ignored its abort signal: the process should be drained and end. */
  readonly onAbandoned: () => void;
}

/** A batch that is about to be claimed. */
interface Admitted {
  readonly candidate: Waiting;
  readonly admission: Extract<Admission, { kind: "start" }>;
}

type Waiting = Candidate & { readonly handler: TaskHandler };

/** Claims so long before a slot, so that the start itself can be on time. */
const CLAIM_LEAD_MS = 500;
/** Suspects that wait here for their turn; more are put back. */
const SUSPECTS_MAX = 4;

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
  readonly #admissions: Admissions;
  readonly #slots: Slots;
  readonly #waiting = new Map<Lane, Waiting[]>(LANES.map((lane) => [lane, []]));
  readonly #suspects: { candidate: Waiting; record: TaskRecord }[] = [];
  readonly #attempts = new Set<RunningAttempt>();
  readonly #work = new Set<Promise<void>>();
  readonly #launching = new Set<Promise<void>>();
  readonly #stop = new AbortController();
  readonly #attemptHost: AttemptHost;
  readonly #watchers = new Set<() => void>();
  #worked = false;
  #solo = false;
  #settleTroubles = 0;
  #claimTroubles = 0;

  constructor(services: Services, options: RunnerOptions) {
    this.#services = services;
    this.#options = options;
    this.#heartbeat = new Heartbeat(services, options.times);
    this.#admissions = new Admissions(services);
    this.#slots = new Slots(options.lanes, options.concurrency);
    this.#attemptHost = {
      ...options,
      services,
      heartbeat: this.#heartbeat,
      onSettleTrouble: (troubled) => {
        this.#settleTroubles += troubled ? 1 : -1;
        this.#pump();
      },
    };
  }

  /** How many messages of a lane could start now. 0 while something keeps new work from starting. */
  capacity(lane: Lane): number {
    if (this.#gated() || this.#suspects.length > 0 || this.#count(lane) > 0) return 0;
    return this.#slots.free(lane, (other) => this.#count(other) > 0);
  }

  /** Consecutive claims that the ledger did not answer: a poller waits longer the more there are. */
  get claimTroubles(): number {
    return this.#claimTroubles;
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
    return this.#attempts.size;
  }

  /** Takes messages in charge. */
  offer(lane: Lane, messages: readonly ReceivedMessage[]): void {
    this.#worked = true;
    const deliveries = messages.map((message): Delivery => ({ lane, message }));
    for (const delivery of deliveries) this.#heartbeat.add(delivery);
    if (this.#stop.signal.aborted) return this.#releaseAll(deliveries);
    this.#sort(deliveries.filter((delivery) => delivery.message.receiveCount < 3));
    // A message that came three times may kill whoever reads it: the others are claimed first.
    const doubtful = deliveries.filter((delivery) => delivery.message.receiveCount >= 3);
    if (doubtful.length > 0) this.#track(this.#sortAlone(doubtful));
  }

  /** Resolves when nothing is left in charge. */
  async idle(): Promise<void> {
    while (this.#work.size > 0 || this.#suspects.length > 0 || LANES.some((lane) => this.#count(lane) > 0)) {
      await Promise.race([...this.#work, ...(this.#work.size === 0 ? [sleep(this.#services.clock, 10)] : [])]);
    }
  }

  /**
   * Stops: what has not started is shown again at once, running handlers may go on, and are aborted towards the end of the
   * grace. Answers how many were interrupted.
   */
  async stop(graceMs: number): Promise<number> {
    this.#stop.abort();
    for (const lane of LANES) {
      const waiting = this.#waiting.get(lane) ?? [];
      for (const candidate of waiting.splice(0)) this.#releaseAll([candidate.delivery, ...candidate.copies]);
    }
    for (const { candidate } of this.#suspects.splice(0)) this.#releaseAll([candidate.delivery, ...candidate.copies]);
    const done = this.idle();
    const lastMs = Math.min(5_000, graceMs / 4);
    const { clock } = this.#services;
    const early = new AbortController();
    await Promise.race([done, sleep(clock, graceMs - lastMs, early.signal)]);
    early.abort();
    const interrupted = this.#attempts.size;
    for (const attempt of this.#attempts) attempt.abort.abort(abortReason("SHUTDOWN", "the worker is stopping"));
    await done;
    return interrupted;
  }

  #gated(): boolean {
    return this.#stop.signal.aborted || this.#solo || this.#settleTroubles > 0;
  }

  #count(lane: Lane): number {
    return this.#waiting.get(lane)?.length ?? 0;
  }

  #track(work: Promise<void>, kind: Set<Promise<void>> = this.#work): void {
    const tracked: Promise<void> = work
      .catch((error: unknown) =>
        this.#services.emit({ type: "poll-failed", lane: "normal", error: `runner: ${String(error)}` }),
      )
      .finally(() => {
        this.#work.delete(tracked);
        kind.delete(tracked);
        this.#pump();
        for (const wake of this.#watchers) wake();
      });
    this.#work.add(tracked);
    kind.add(tracked);
  }

  async #sortAlone(deliveries: readonly Delivery[]): Promise<void> {
    for (const delivery of deliveries) {
      await Promise.all(this.#launching);
      this.#sort([delivery]);
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
      if (handler === undefined) continue;
      const waiting = this.#waiting.get(group.delivery.lane);
      // A suspect that was passed over once goes first.
      if (group.envelope.passedOver) waiting?.unshift({ ...group, handler });
      else waiting?.push({ ...group, handler });
    }
    this.#pump();
  }

  /** Starts whatever may start now, most urgent lanes first. */
  #pump(): void {
    if (this.#gated()) return;
    if (this.#suspects.length > 0) {
      if (this.#slots.used === 0 && this.#launching.size === 0) this.#startSolo();
      return;
    }
    for (const lane of this.#options.lanes) {
      const waiting = this.#waiting.get(lane) ?? [];
      const free = this.#slots.free(lane, (other) => this.#count(other) > 0);
      const batch = waiting.splice(0, Math.min(free, waiting.length));
      if (batch.length === 0) continue;
      for (const candidate of batch) this.#slots.take(candidate.delivery.lane);
      this.#track(this.#launch(batch));
    }
  }

  #startSolo(): void {
    const suspect = this.#suspects.shift();
    if (suspect === undefined) return;
    this.#solo = true;
    const { candidate, record } = suspect;
    this.#slots.take(candidate.delivery.lane);
    this.#track(
      this.#claim([candidate], record.fence)
        .then(([verdict]) => this.#conclude(candidate, verdict, undefined, true))
        .finally(() => {
          this.#slots.give(candidate.delivery.lane);
          this.#solo = false;
        }),
    );
  }

  /** Admits and claims a batch; each candidate holds its slot until it has ended or gone back. */
  async #launch(batch: readonly Waiting[]): Promise<void> {
    let admissions: readonly Admission[];
    try {
      admissions = await this.#admissions.admit(batch);
    } catch (error) {
      const verdict: Verdict = { kind: "leave", error: asError(error) };
      for (const candidate of batch) this.#finish(candidate, this.#conclude(candidate, verdict, undefined, false));
      return;
    }
    const claimFrom = this.#services.clock.now() + CLAIM_LEAD_MS;
    const now: Admitted[] = [];
    for (const [place, admission] of admissions.entries()) {
      const candidate = batch[place];
      if (candidate === undefined) continue;
      if (admission.kind === "put-back") this.#finish(candidate, this.#putBackThrottled(candidate, admission));
      else if (isDue(admission, claimFrom)) now.push({ candidate, admission });
      else this.#finish(candidate, this.#claimLater({ candidate, admission }));
    }
    if (now.length > 0) await this.#claimNow(now);
  }

  async #claimNow(admitted: readonly Admitted[]): Promise<void> {
    const windows = admitted.map(({ admission }) => admission.window);
    const claiming = this.#claim(
      admitted.map(({ candidate }) => candidate),
      undefined,
      windows,
    );
    this.#track(
      claiming.then(() => undefined),
      this.#launching,
    );
    const verdicts = await claiming;
    for (const [place, { candidate, admission }] of admitted.entries())
      this.#finish(candidate, this.#conclude(candidate, verdicts[place], admission.window, false));
  }

  async #claimLater({ candidate, admission }: Admitted): Promise<void> {
    const { clock } = this.#services;
    const leadMs = admission.window === undefined ? 0 : CLAIM_LEAD_MS;
    for (
      let waitMs = admission.startMs - leadMs - clock.now();
      waitMs > 0;
      waitMs = admission.startMs - leadMs - clock.now()
    ) {
      await sleep(clock, waitMs, this.#stop.signal);
      if (this.#stop.signal.aborted) return this.#releaseAll([candidate.delivery, ...candidate.copies]);
    }
    const [verdict] = await this.#claim([candidate], undefined, [admission.window]);
    await this.#conclude(candidate, verdict, admission.window, false);
  }

  /** Frees the candidate's slot when its work has ended. */
  #finish(candidate: Waiting, work: Promise<void>): void {
    this.#track(work.finally(() => this.#slots.give(candidate.delivery.lane)));
  }

  async #claim(
    candidates: readonly Waiting[],
    takeoverFence?: number,
    windows: readonly (StartWindow | undefined)[] = [],
  ): Promise<Verdict[]> {
    const { clock, random, backend } = this.#services;
    const { leaseMs, skewMs } = this.#options.times;
    const now = clock.now();
    const claims = candidates.map(
      ({ envelope, delivery }, place): Claim => ({
        id: envelope.id,
        owner: random.token(),
        messageId: delivery.message.id,
        now,
        leaseUntil: now + leaseMs,
        slotUs: windows[place]?.slotUs,
        takeover: takeoverFence === undefined ? undefined : { fence: takeoverFence, endedBefore: now - skewMs },
      }),
    );
    const outcomes = await backend.ledger.claimMany(claims);
    const failed = outcomes.some((outcome) => outcome.kind === "failed");
    this.#claimTroubles = failed ? this.#claimTroubles + 1 : 0;
    return outcomes.map((outcome: WriteOutcome, place) =>
      judgeClaim(outcome, claims[place]?.messageId ?? "", clock.now(), skewMs),
    );
  }

  async #conclude(
    candidate: Waiting,
    verdict: Verdict | undefined,
    window: StartWindow | undefined,
    solo: boolean,
  ): Promise<void> {
    const { delivery, envelope, copies } = candidate;
    if (verdict === undefined || verdict.kind === "leave") {
      // Left to its visibility, with jitter: the ledger gets time to recover.
      const leaveMs = this.#options.times.leaseMs * (0.5 + this.#services.random.next());
      for (const each of [delivery, ...copies]) this.#dispose(each, { kind: "release", visibilityMs: leaveMs });
      return;
    }
    for (const copy of copies) {
      this.#services.emit({
        type: "copy-dropped",
        because: "same-batch",
        taskId: envelope.id,
        task: envelope.task,
        lane: copy.lane,
      });
      this.#dispose(copy, { kind: "acknowledge" });
    }
    switch (verdict.kind) {
      case "start": {
        const attempt = new RunningAttempt(this.#attemptHost, candidate.handler, candidate, verdict.record, window);
        this.#attempts.add(attempt);
        const disposal = await attempt.run(solo).finally(() => this.#attempts.delete(attempt));
        return this.#dispose(delivery, disposal);
      }
      case "drop":
        this.#services.emit({
          type: "copy-dropped",
          because: verdict.because,
          taskId: envelope.id,
          task: envelope.task,
          lane: delivery.lane,
        });
        return this.#dispose(delivery, { kind: "acknowledge" });
      case "hide":
        return this.#dispose(delivery, { kind: "release", visibilityMs: verdict.forMs });
      case "early":
        return this.#concludeEarly(candidate, verdict.record);
      case "again":
        return this.#putBack(candidate, 1_000 * this.#services.random.next(), {
          slotUs: undefined,
          notBefore: undefined,
        });
      case "suspect":
        return this.#concludeSuspect(candidate, verdict.record);
      case "send-letter": {
        const sent = await sendDeadLetter(this.#services, verdict.record).catch(() => false);
        return this.#dispose(delivery, sent ? { kind: "acknowledge" } : { kind: "release", visibilityMs: 5_000 });
      }
    }
  }

  /** A copy of a message that was sent before the task was put off. */
  async #concludeEarly(candidate: Waiting, record: TaskRecord): Promise<void> {
    const earlyMs = record.notBefore - this.#services.clock.now();
    // The scheduler sends a far task's message: this copy is not needed.
    if (earlyMs > SQS_DELAY_MAX_MS && record.owedAt !== undefined)
      return this.#dispose(candidate.delivery, { kind: "acknowledge" });
    if (earlyMs > EARLY_WAIT_MAX_MS) return this.#putBack(candidate, earlyMs, { notBefore: record.notBefore });
    return this.#claimLater({ candidate, admission: { kind: "start", startMs: record.notBefore, window: undefined } });
  }

  async #concludeSuspect(candidate: Waiting, record: TaskRecord): Promise<void> {
    const room = candidate.envelope.passedOver ? SUSPECTS_MAX : 1;
    if (this.#suspects.length < room && !this.#stop.signal.aborted) {
      const suspect = { candidate: { ...candidate, copies: [] }, record };
      if (candidate.envelope.passedOver) this.#suspects.unshift(suspect);
      else this.#suspects.push(suspect);
      return;
    }
    const delayMs = 1_000 + this.#options.times.leaseMs * this.#services.random.next();
    const { id, task } = candidate.envelope;
    this.#services.emit({
      type: "deferred",
      reason: "suspect",
      delayMs,
      taskId: id,
      task,
      lane: candidate.delivery.lane,
    });
    return this.#putBack(candidate, delayMs, { passedOver: true, notBefore: undefined });
  }

  #putBackThrottled(candidate: Waiting, admission: Extract<Admission, { kind: "put-back" }>): Promise<void> {
    const { id, task } = candidate.envelope;
    if (admission.reason === "rate-limit")
      this.#services.emit({
        type: "deferred",
        reason: "rate-limit",
        delayMs: admission.delayMs,
        taskId: id,
        task,
        lane: candidate.delivery.lane,
      });
    for (const copy of candidate.copies) this.#dispose(copy, { kind: "acknowledge" });
    return this.#putBack(candidate, admission.delayMs, admission.changed);
  }

  /** Sends the message again with a delay, then acknowledges the old one; unsent, the old one serves. */
  async #putBack(candidate: Waiting, delayMs: number, changed: Partial<Candidate["envelope"]>): Promise<void> {
    const { delivery, envelope } = candidate;
    const [sent] = await sendWakeUps(this.#services, [wakeUpAgain(delivery.lane, envelope, delayMs, changed)]);
    this.#dispose(
      delivery,
      sent?.ok === true ? { kind: "acknowledge" } : { kind: "release", visibilityMs: Math.max(1_000, delayMs) },
    );
  }

  #dispose(delivery: Delivery, disposal: Disposal): void {
    this.#heartbeat.remove(delivery);
    if (disposal.kind === "acknowledge") this.#options.host.acknowledge(delivery);
    else if (disposal.kind === "release") this.#options.host.release(delivery, disposal.visibilityMs);
  }

  #releaseAll(deliveries: readonly Delivery[]): void {
    for (const delivery of deliveries) this.#dispose(delivery, { kind: "release", visibilityMs: 0 });
  }
}

function isDue(admission: Extract<Admission, { kind: "start" }>, claimFrom: number): boolean {
  const leadMs = admission.window === undefined ? CLAIM_LEAD_MS : 0;
  return admission.startMs <= claimFrom - leadMs;
}

function asError(error: unknown): TasklaneError {
  if (TasklaneError.is(error)) return error;
  return new TasklaneError("BACKEND_UNAVAILABLE", { what: "Admission failed", received: String(error) });
}
