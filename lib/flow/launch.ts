import type { Claim } from "../ports/ledger.ts";
import { sleep } from "../ports/clock.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import type { TaskMark } from "../task/events.ts";
import { EARLY_WAIT_MAX_MS, RECEIVE_LIMIT, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Admission, StartWindow } from "./admission.ts";
import { Admissions } from "./admission.ts";
import type { AttemptHost } from "./attempt.ts";
import { RunningAttempt } from "./attempt.ts";
import type { Candidate, Delivery, Verdict } from "./claim.ts";
import { claimOrAsk, judgeClaim, messageIdsOf, standInOf } from "./claim.ts";
import { sendDeadLetter } from "./dead-letter.ts";
import type { LeaseTimes } from "./heartbeat.ts";
import type { Disposal } from "./intake.ts";
import { abortReason } from "./run.ts";
import type { Services } from "./services.ts";
import { sendWakeUps, wakeUpAgain } from "./wake.ts";

/** A candidate with the handler that will run it. */
export type Waiting = Candidate & { readonly handler: TaskHandler };

/** What a launcher needs of its runner. */
export interface LaunchHost {
  readonly attempts: AttemptHost;
  readonly times: LeaseTimes;
  /** Aborts when nothing new may start. */
  readonly stop: AbortSignal;
  /** Gives a message back. */
  dispose(delivery: Delivery, disposal: Disposal): void;
  /** Keeps a suspect for its turn; answers whether there is room. */
  keepSuspect(candidate: Waiting, record: TaskRecord): boolean;
  /** Takes note of work that holds the candidate's slot until it ends. */
  finish(candidate: Waiting, work: Promise<void>): void;
}

/** How often a suspect waits for a quiet worker before it is taken over beside others. */
const SUSPECT_DEFERRALS_MAX = 12;

/** A candidate that was admitted. */
interface Admitted {
  readonly candidate: Waiting;
  readonly admission: Extract<Admission, { kind: "start" }>;
}

/** Takes candidates that have a worker's slot from admission over the claim to the end of their attempt, or back to the queue. */
export class Launcher {
  /** Attempts that are under way. */
  readonly attempts: Set<RunningAttempt> = new Set();
  /** Consecutive claims that the ledger did not answer. */
  claimTroubles: number = 0;
  #interruption: TasklaneError | undefined;
  readonly #host: LaunchHost;
  readonly #services: Services;
  readonly #admissions: Admissions;

  constructor(host: LaunchHost) {
    this.#host = host;
    this.#services = host.attempts.services;
    this.#admissions = new Admissions(this.#services);
  }

  /** Admits and claims a batch; each candidate holds its slot until it has ended or gone back. */
  async launch(batch: readonly Waiting[]): Promise<void> {
    let admissions: readonly Admission[];
    try {
      admissions = await this.#admissions.admit(batch);
    } catch (error) {
      this.claimTroubles++;
      const verdict: Verdict = { kind: "leave", error: asError(error) };
      for (const candidate of batch) this.#host.finish(candidate, this.#conclude(candidate, verdict, undefined, false));
      return;
    }
    const now: Admitted[] = [];
    for (const [place, admission] of admissions.entries()) {
      const candidate = batch[place];
      if (candidate === undefined) continue;
      if (admission.kind === "put-back") this.#host.finish(candidate, this.#putBackThrottled(candidate, admission));
      else if (admission.claimMs <= this.#services.clock.now()) now.push({ candidate, admission });
      else this.#host.finish(candidate, this.#claimLater({ candidate, admission }));
    }
    if (now.length > 0) await this.#claimNow(now);
  }

  /** Interrupts what runs, and whatever a claim that is under way would start. Answers how many run. */
  interrupt(): number {
    this.#interruption = abortReason("SHUTDOWN", "the worker is stopping");
    for (const { abort } of this.attempts) abort.abort(this.#interruption);
    return this.attempts.size;
  }

  async #claimNow(admitted: readonly Admitted[]): Promise<void> {
    const windows = admitted.map(({ admission }) => admission.window);
    const verdicts = await this.#claim(
      admitted.map(({ candidate }) => candidate),
      undefined,
      windows,
    );
    for (const [place, { candidate, admission }] of admitted.entries())
      this.#host.finish(candidate, this.#conclude(candidate, verdicts[place], admission.window, false));
  }

  /**
   * Takes a suspect over and runs it; the runner sees to it that nothing else runs. Its turn comes at a time that nobody
   * planned, so it is admitted once more: a takeover is a start like any other to its rate limit.
   */
  async takeOver(candidate: Waiting, record: TaskRecord): Promise<void> {
    let admission: Admission | undefined;
    try {
      [admission] = await this.#admissions.admit([candidate]);
    } catch (error) {
      return this.#conclude(candidate, { kind: "leave", error: asError(error) }, undefined, true);
    }
    if (admission?.kind === "start") return this.#claimLater({ candidate, admission }, record.fence);
    if (admission?.kind === "put-back")
      return this.#putBackThrottled(candidate, { ...admission, changed: { ...admission.changed, passedOver: true } });
  }

  /**
   * Passes a candidate on: to whoever has a slot for it, or to a time at which a suspect finds a quiet worker. Each time a
   * suspect is passed on it waits longer.
   */
  async passOn(candidate: Waiting, reason: "busy" | "suspect"): Promise<void> {
    const { leaseMs } = this.#host.times;
    const { deferrals } = candidate.envelope;
    const longestMs = Math.min(SQS_DELAY_MAX_MS, leaseMs * 2 ** Math.min(deferrals, 20));
    const delayMs = reason === "busy" ? 0 : longestMs * (0.5 + this.#services.random.next() / 2);
    this.#services.emit({ type: "deferred", reason, delayMs, ...markOf(candidate) });
    this.#dropCopies(candidate);
    return this.#putBack(candidate, delayMs, reason === "busy" ? {} : { passedOver: true, notBefore: undefined });
  }

  async #claimLater({ candidate, admission }: Admitted, takeoverFence?: number): Promise<void> {
    const { clock } = this.#services;
    for (let waitMs = admission.claimMs - clock.now(); waitMs > 0; waitMs = admission.claimMs - clock.now()) {
      await sleep(clock, waitMs, this.#host.stop);
      if (this.#host.stop.aborted) return this.#release(candidate);
    }
    const [verdict] = await this.#claim([candidate], takeoverFence, [admission.window]);
    await this.#conclude(candidate, verdict, admission.window, takeoverFence !== undefined);
  }

  async #claim(
    candidates: readonly Waiting[],
    takeoverFence?: number,
    windows: readonly (StartWindow | undefined)[] = [],
  ): Promise<Verdict[]> {
    const { clock, random, backend } = this.#services;
    const { leaseMs, skewMs } = this.#host.times;
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
    const outcomes = await claimOrAsk(backend.ledger, claims);
    const failed = outcomes.some((outcome) => outcome.kind === "failed");
    this.claimTroubles = failed ? this.claimTroubles + 1 : 0;
    return outcomes.map((outcome, place) =>
      judgeClaim(outcome, messageIdsOf(candidates[place]), clock.now(), skewMs, standInOf(candidates[place])),
    );
  }

  async #conclude(
    candidate: Waiting,
    verdict: Verdict | undefined,
    window: StartWindow | undefined,
    solo: boolean,
  ): Promise<void> {
    const { delivery } = candidate;
    if (verdict === undefined || verdict.kind === "leave") return this.#leave(candidate);
    if (verdict.kind === "hide") return this.#hide(candidate, verdict);
    this.#dropCopies(candidate);
    switch (verdict.kind) {
      case "start": {
        const attempt = new RunningAttempt(this.#host.attempts, candidate.handler, candidate, verdict.record, window);
        this.attempts.add(attempt);
        // Its claim was answered too late.
        if (this.#interruption !== undefined) attempt.abort.abort(this.#interruption);
        const disposal = await attempt.run(solo).finally(() => this.attempts.delete(attempt));
        return this.#host.dispose(delivery, disposal);
      }
      case "drop":
        this.#services.emit({ type: "copy-dropped", because: verdict.because, ...markOf(candidate) });
        return this.#host.dispose(delivery, { kind: "acknowledge" });
      case "early":
        return this.#concludeEarly(candidate, verdict.record, window);
      case "again":
        return this.#putBack(candidate, 1_000 * this.#services.random.next(), {
          slotUs: undefined,
          notBefore: undefined,
        });
      case "suspect":
        return this.#concludeSuspect(candidate, verdict.record, window);
      case "send-letter": {
        const sent = await sendDeadLetter(this.#services, verdict.record).catch(() => false);
        return this.#host.dispose(delivery, sent ? { kind: "acknowledge" } : { kind: "release", visibilityMs: 5_000 });
      }
    }
  }

  /**
   * Leaves a message to its time out of sight, with jitter: the ledger gets time to recover. One that was left often is sent
   * anew: however long the ledger is away, no task's receives are used up.
   */
  async #leave(candidate: Waiting): Promise<void> {
    const { delivery, copies } = candidate;
    const leaveMs = this.#host.times.leaseMs * (0.5 + this.#services.random.next());
    if (delivery.message.receiveCount >= RECEIVE_LIMIT / 2) {
      this.#dropCopies(candidate);
      return this.#putBack(candidate, leaveMs, {});
    }
    for (const each of [delivery, ...copies]) this.#host.dispose(each, { kind: "release", visibilityMs: leaveMs });
  }

  /** Keeps the message that the running attempt came from, which is all that tells of its crash, and drops the others. */
  #hide({ delivery, envelope, copies }: Waiting, { messageId, forMs }: Extract<Verdict, { kind: "hide" }>): void {
    for (const each of [delivery, ...copies])
      if (each.message.id === messageId) this.#host.dispose(each, { kind: "release", visibilityMs: forMs });
      else {
        const { id: taskId, task } = envelope;
        this.#services.emit({ type: "copy-dropped", because: "running", taskId, task, lane: each.lane });
        this.#host.dispose(each, { kind: "acknowledge" });
      }
  }

  /** Drops the other messages of a task. The same one, received twice, is not touched: by its copy it might be deleted too. */
  #dropCopies(candidate: Waiting): void {
    for (const copy of candidate.copies) {
      const isSame = copy.message.id === candidate.delivery.message.id;
      if (!isSame) this.#services.emit({ type: "copy-dropped", because: "same-batch", ...markOf(candidate) });
      this.#host.dispose(copy, { kind: isSame ? "let-go" : "acknowledge" });
    }
  }

  /** A copy of a message that was sent before the task was put off. */
  async #concludeEarly(candidate: Waiting, record: TaskRecord, window: StartWindow | undefined): Promise<void> {
    const earlyMs = record.notBefore - this.#services.clock.now();
    // The scheduler sends a far task's message: this copy is not needed.
    if (earlyMs > SQS_DELAY_MAX_MS && record.owedAt !== undefined)
      return this.#host.dispose(candidate.delivery, { kind: "acknowledge" });
    const missed = window !== undefined && window.endMs <= record.notBefore;
    if (earlyMs > EARLY_WAIT_MAX_MS || missed)
      return this.#putBack(candidate, earlyMs, { notBefore: record.notBefore, slotUs: undefined });
    return this.#claimLater({ candidate, admission: { kind: "start", claimMs: record.notBefore, window } });
  }

  async #concludeSuspect(candidate: Waiting, record: TaskRecord, window: StartWindow | undefined): Promise<void> {
    // The claim was refused, so its slot was not used, unless by the attempt that crashed: it may still be good.
    const slotUs = window?.slotUs ?? candidate.envelope.slotUs;
    const used = slotUs !== undefined && slotUs <= (record.slotUs ?? 0);
    // What it was put back for before it was a suspect says nothing of quiet workers.
    const deferrals = candidate.envelope.passedOver ? candidate.envelope.deferrals : 0;
    const envelope = { ...candidate.envelope, slotUs: used ? undefined : slotUs, deferrals };
    const suspect = { ...candidate, envelope, copies: [] };
    // No worker was ever quiet: its neighbours risk one crash now, after which they are suspects and run alone themselves.
    if (envelope.deferrals >= SUSPECT_DEFERRALS_MAX) return this.takeOver(suspect, record);
    if (this.#host.keepSuspect(suspect, record)) return;
    const delayMs = 1_000 + this.#host.times.leaseMs * this.#services.random.next();
    this.#services.emit({ type: "deferred", reason: "suspect", delayMs, ...markOf(candidate) });
    return this.#putBack(suspect, delayMs, { passedOver: true, notBefore: undefined });
  }

  #putBackThrottled(candidate: Waiting, admission: Extract<Admission, { kind: "put-back" }>): Promise<void> {
    const { delayMs } = admission;
    if (admission.reason === "rate-limit")
      this.#services.emit({ type: "deferred", reason: "rate-limit", delayMs, ...markOf(candidate) });
    this.#dropCopies(candidate);
    return this.#putBack(candidate, admission.delayMs, admission.changed);
  }

  /** Sends the message again with a delay, then acknowledges the old one; unsent, the old one serves. */
  async #putBack(candidate: Waiting, delayMs: number, changed: Partial<Candidate["envelope"]>): Promise<void> {
    const { delivery, envelope } = candidate;
    const [sent] = await sendWakeUps(this.#services, [wakeUpAgain(delivery.lane, envelope, delayMs, changed)]);
    this.#host.dispose(
      delivery,
      sent?.ok === true ? { kind: "acknowledge" } : { kind: "release", visibilityMs: Math.max(1_000, delayMs) },
    );
  }

  #release({ delivery, copies }: Waiting): void {
    for (const each of [delivery, ...copies]) this.#host.dispose(each, { kind: "release", visibilityMs: 0 });
  }
}

function markOf({ envelope, delivery }: Waiting): TaskMark {
  return { taskId: envelope.id, task: envelope.task, lane: delivery.lane };
}

function asError(error: unknown): TasklaneError {
  if (TasklaneError.is(error)) return error;
  return new TasklaneError("BACKEND_UNAVAILABLE", { what: "Admission failed", received: String(error) });
}
