import type { Claim, WriteOutcome } from "../ports/ledger.ts";
import { sleep } from "../ports/clock.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import type { TaskMark } from "../task/events.ts";
import { EARLY_WAIT_MAX_MS, SQS_DELAY_MAX_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Admission, StartWindow } from "./admission.ts";
import { Admissions } from "./admission.ts";
import type { AttemptHost } from "./attempt.ts";
import { RunningAttempt } from "./attempt.ts";
import type { Candidate, Delivery, Verdict } from "./claim.ts";
import { judgeClaim } from "./claim.ts";
import { sendDeadLetter } from "./dead-letter.ts";
import type { LeaseTimes } from "./heartbeat.ts";
import type { Disposal } from "./intake.ts";
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

/** A candidate that was admitted. */
interface Admitted {
  readonly candidate: Waiting;
  readonly admission: Extract<Admission, { kind: "start" }>;
}

/** Claims so long before a slot, in milliseconds, so that the start itself can be on time. */
const CLAIM_LEAD_MS = 500;

/** Takes candidates that have a worker's slot from admission over the claim to the end of their attempt, or back to the queue. */
export class Launcher {
  /** Attempts that are under way. */
  readonly attempts = new Set<RunningAttempt>();
  /** Consecutive claims that the ledger did not answer. */
  claimTroubles = 0;
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
      const verdict: Verdict = { kind: "leave", error: asError(error) };
      for (const candidate of batch) this.#host.finish(candidate, this.#conclude(candidate, verdict, undefined, false));
      return;
    }
    const claimFrom = this.#services.clock.now() + CLAIM_LEAD_MS;
    const now: Admitted[] = [];
    for (const [place, admission] of admissions.entries()) {
      const candidate = batch[place];
      if (candidate === undefined) continue;
      if (admission.kind === "put-back") this.#host.finish(candidate, this.#putBackThrottled(candidate, admission));
      else if (isDue(admission, claimFrom)) now.push({ candidate, admission });
      else this.#host.finish(candidate, this.#claimLater({ candidate, admission }));
    }
    if (now.length > 0) await this.#claimNow(now);
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

  /** Takes a suspect over and runs it; the runner sees to it that nothing else runs. */
  async takeOver(candidate: Waiting, record: TaskRecord): Promise<void> {
    const [verdict] = await this.#claim([candidate], record.fence);
    await this.#conclude(candidate, verdict, undefined, true);
  }

  async #claimLater({ candidate, admission }: Admitted): Promise<void> {
    const { clock } = this.#services;
    const leadMs = admission.window === undefined ? 0 : CLAIM_LEAD_MS;
    for (
      let waitMs = admission.startMs - leadMs - clock.now();
      waitMs > 0;
      waitMs = admission.startMs - leadMs - clock.now()
    ) {
      await sleep(clock, waitMs, this.#host.stop);
      if (this.#host.stop.aborted) return this.#release(candidate);
    }
    const [verdict] = await this.#claim([candidate], undefined, [admission.window]);
    await this.#conclude(candidate, verdict, admission.window, false);
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
    const outcomes = await backend.ledger.claimMany(claims);
    const failed = outcomes.some((outcome) => outcome.kind === "failed");
    this.claimTroubles = failed ? this.claimTroubles + 1 : 0;
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
    const { delivery, copies } = candidate;
    if (verdict === undefined || verdict.kind === "leave") {
      // Left to its visibility, with jitter: the ledger gets time to recover.
      const leaveMs = this.#host.times.leaseMs * (0.5 + this.#services.random.next());
      for (const each of [delivery, ...copies]) this.#host.dispose(each, { kind: "release", visibilityMs: leaveMs });
      return;
    }
    for (const copy of copies) {
      this.#services.emit({ type: "copy-dropped", because: "same-batch", ...markOf(candidate) });
      this.#host.dispose(copy, { kind: "acknowledge" });
    }
    switch (verdict.kind) {
      case "start": {
        const attempt = new RunningAttempt(this.#host.attempts, candidate.handler, candidate, verdict.record, window);
        this.attempts.add(attempt);
        const disposal = await attempt.run(solo).finally(() => this.attempts.delete(attempt));
        return this.#host.dispose(delivery, disposal);
      }
      case "drop":
        this.#services.emit({ type: "copy-dropped", because: verdict.because, ...markOf(candidate) });
        return this.#host.dispose(delivery, { kind: "acknowledge" });
      case "hide":
        return this.#host.dispose(delivery, { kind: "release", visibilityMs: verdict.forMs });
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
        return this.#host.dispose(delivery, sent ? { kind: "acknowledge" } : { kind: "release", visibilityMs: 5_000 });
      }
    }
  }

  /** A copy of a message that was sent before the task was put off. */
  async #concludeEarly(candidate: Waiting, record: TaskRecord): Promise<void> {
    const earlyMs = record.notBefore - this.#services.clock.now();
    // The scheduler sends a far task's message: this copy is not needed.
    if (earlyMs > SQS_DELAY_MAX_MS && record.owedAt !== undefined)
      return this.#host.dispose(candidate.delivery, { kind: "acknowledge" });
    if (earlyMs > EARLY_WAIT_MAX_MS) return this.#putBack(candidate, earlyMs, { notBefore: record.notBefore });
    return this.#claimLater({ candidate, admission: { kind: "start", startMs: record.notBefore, window: undefined } });
  }

  async #concludeSuspect(candidate: Waiting, record: TaskRecord): Promise<void> {
    if (this.#host.keepSuspect({ ...candidate, copies: [] }, record)) return;
    const delayMs = 1_000 + this.#host.times.leaseMs * this.#services.random.next();
    this.#services.emit({ type: "deferred", reason: "suspect", delayMs, ...markOf(candidate) });
    return this.#putBack(candidate, delayMs, { passedOver: true, notBefore: undefined });
  }

  #putBackThrottled(candidate: Waiting, admission: Extract<Admission, { kind: "put-back" }>): Promise<void> {
    const { delayMs } = admission;
    if (admission.reason === "rate-limit")
      this.#services.emit({ type: "deferred", reason: "rate-limit", delayMs, ...markOf(candidate) });
    for (const copy of candidate.copies) this.#host.dispose(copy, { kind: "acknowledge" });
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

function isDue(admission: Extract<Admission, { kind: "start" }>, claimFrom: number): boolean {
  const leadMs = admission.window === undefined ? CLAIM_LEAD_MS : 0;
  return admission.startMs <= claimFrom - leadMs;
}

function asError(error: unknown): TasklaneError {
  if (TasklaneError.is(error)) return error;
  return new TasklaneError("BACKEND_UNAVAILABLE", { what: "Admission failed", received: String(error) });
}
