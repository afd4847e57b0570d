import { sleep } from "../ports/clock.ts";
import type { TaskContext } from "../task/context.ts";
import type { TaskHandler } from "../task/define-task.ts";
import type { Json } from "../task/json.ts";
import type { Outcome } from "../task/outcome.ts";
import { describeFailure } from "../task/outcome.ts";
import type { TaskRecord } from "../task/record.ts";
import type { StartWindow } from "./admission.ts";
import type { AttemptLogger } from "./attempt-report.ts";
import { reportAttempt, taskLog } from "./attempt-report.ts";
import type { Candidate } from "./claim.ts";
import { sendDeadLetter } from "./dead-letter.ts";
import type { Heartbeat } from "./heartbeat.ts";
import { noteCrash } from "./history.ts";
import type { Disposal } from "./intake.ts";
import { Progress } from "./progress.ts";
import type { RunResult } from "./run.ts";
import { abortReason, readyInput, runHandler, untilAborted } from "./run.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";
import type { Settlement } from "./settle.ts";
import { decideSettlement, noteOutcome, writeSettlement } from "./settle.ts";
import { sendWakeUps, wakeUp } from "./wake.ts";

/** What attempts need of their worker. */
export interface AttemptHost {
  readonly services: Services;
  readonly heartbeat: Heartbeat;
  readonly log: AttemptLogger;
  /** Names this process in the history. */
  readonly worker: string;
  /** Enqueues for `ctx.enqueue`, once per parent. */
  readonly enqueue: (parent: TaskRecord) => TaskContext["enqueue"];
  /** Runs a handler within the producer's trace. */
  readonly traced: <T>(traceparent: string | undefined, run: () => Promise<T>) => Promise<T>;
  /** The ledger does not take a settlement: nothing new is claimed meanwhile. */
  readonly onSettleTrouble: (troubled: boolean) => void;
  /** A handler ignored its signal: this process must end soon. */
  readonly onAbandoned: () => void;
  /** Aborts when the process must end, whatever is not settled by then. */
  readonly giveUp: AbortSignal;
  /** How long a handler may go on after an abort, in milliseconds. */
  readonly abortGraceMs: () => number;
  /**
   * How many milliseconds an attempt that starts now has, where its host could never give it its whole timeout: then it has timed out
   * when they are over, and is not interrupted time and again. Default: all of its timeout.
   */
  readonly timeLimitMs?: ((handler: TaskHandler) => number | undefined) | undefined;
}

/** An attempt from its claim to its settlement. */
export class RunningAttempt {
  readonly abort: AbortController = new AbortController();
  readonly #host: AttemptHost;
  readonly #handler: TaskHandler;
  readonly #candidate: Candidate;
  readonly #window: StartWindow | undefined;
  #record: TaskRecord;
  readonly #progress: Progress;
  #lost = false;

  constructor(
    host: AttemptHost,
    handler: TaskHandler,
    candidate: Candidate,
    record: TaskRecord,
    window: StartWindow | undefined,
  ) {
    this.#host = host;
    this.#handler = handler;
    this.#candidate = candidate;
    this.#record = record;
    this.#window = window;
    this.#progress = new Progress(host.services, {
      record: () => this.#record,
      onWritten: (written) => this.#onRenewed(written),
    });
  }

  /** Runs the handler, settles, and answers what becomes of the message. */
  async run(crashed: boolean): Promise<Disposal> {
    const { services, heartbeat } = this.#host;
    const { delivery, envelope } = this.#candidate;
    heartbeat.hold(delivery, {
      record: this.#record,
      since: services.clock.monotonic(),
      onLost: () => this.#onLost(),
      onRenewed: (record) => this.#onRenewed(record),
    });
    if (crashed) await noteCrash(services, this.#record);
    const early = this.#endBeforeStart(crashed);
    if (early !== undefined) return this.#settleUnstarted(early, undefined);
    const { signal } = this.abort;
    const ready = await untilAborted(readyInput(services, this.#handler, this.#record, envelope, signal), signal);
    // A store that does not answer must not hold the claim until it looks like a crash.
    if (ready === undefined) return this.#endAborted(undefined);
    if (!ready.ok) {
      if (ready.outcome.kind === "deferred")
        services.emit({
          type: "deferred",
          reason: ready.unknownSince === undefined ? "unavailable" : "unknown-schema",
          delayMs: ready.outcome.delayMs,
          ...markOf(this.#record),
        });
      return this.#settleUnstarted(ready.outcome, ready.json, ready.unknownSince);
    }
    const missed = await this.#waitForSlot();
    if (missed !== undefined) return this.#settleUnstarted(missed, ready.json);
    if (signal.aborted) return this.#endAborted(ready.json);
    return this.#start(ready.input, ready.json);
  }

  async #start(input: unknown, json: string): Promise<Disposal> {
    const { services } = this.#host;
    const record = this.#record;
    const startedAt = services.clock.monotonic();
    const waitMs = Math.max(0, services.clock.now() - Math.max(record.notBefore, record.createdAt));
    services.emit({ type: "attempt-started", attempt: record.attempts, waitMs, ...markOf(record) });
    const attempt = {
      handler: this.#handler,
      record,
      abort: this.abort,
      log: taskLog(this.#host.log, record),
      progress: (value: Json) => this.#progress.show(value),
      enqueue: this.#guarded(this.#host.enqueue(record)),
      abortGraceMs: this.#host.abortGraceMs,
      timeLimitMs: this.#host.timeLimitMs?.(this.#handler),
    };
    const result = await this.#host.traced(record.traceparent, () => runHandler(services, attempt, input));
    if (result.abandoned) {
      services.emit({ type: "handler-abandoned", taskId: record.id, task: record.task });
      this.#host.onAbandoned();
    }
    return this.#settle(result, services.clock.monotonic() - startedAt, json);
  }

  /** What ends a claimed task before its handler starts. */
  #endBeforeStart(crashed: boolean): Outcome | undefined {
    const record = this.#record;
    // A message may say anything; the record says what the task is. It is put back under its own name.
    if (record.task !== this.#handler.definition.name)
      return { kind: "deferred", delayMs: 0, failure: { code: "ERROR", message: "its message named another task" } };
    const now = this.#host.services.clock.now();
    const { maxCrashes, maxLifetimeMs } = this.#handler.definition;
    if (crashed && record.crashes >= maxCrashes)
      return {
        kind: "dead",
        failure: { code: "CRASHED", message: `${record.crashes} starts took their process down` },
      };
    if (record.cancelRequested !== undefined)
      return { kind: "cancelled", failure: { code: "CANCELLED", message: record.cancelRequested } };
    if (record.startBy !== undefined && record.startBy <= now && record.attempts <= 1)
      return { kind: "expired", failure: { code: "TASK_EXPIRED", message: "it was not started in time" } };
    if (now > record.dueAt + maxLifetimeMs)
      return {
        kind: "dead",
        failure: { code: "LIFETIME_EXCEEDED", message: "its lifetime was over before it could start again" },
      };
    return undefined;
  }

  /** What aborted the attempt while its input was read or its slot was waited for keeps the handler from starting at all. */
  async #endAborted(json: string | undefined): Promise<Disposal> {
    const failure = describeFailure(this.abort.signal.reason);
    if (failure.code === "CANCELLED") return this.#settleUnstarted({ kind: "cancelled", failure }, json);
    if (!this.#lost) return this.#settleUnstarted({ kind: "deferred", failure, delayMs: 0 }, json);
    this.#host.heartbeat.release(this.#candidate.delivery);
    return { kind: "let-go" };
  }

  /** Starts within the slot and never before it; a slot that is over is forfeited. */
  async #waitForSlot(): Promise<Outcome | undefined> {
    const { clock } = this.#host.services;
    if (this.#window === undefined && this.#handler.definition.rateLimit === undefined) return undefined;
    // Without a slot nothing that has a limit starts: a message may have named a time at which its task would be over.
    const { startMs, endMs } = this.#window ?? { startMs: 0, endMs: 0 };
    const { signal } = this.abort;
    for (let waitMs = startMs - clock.now(); waitMs > 0 && !signal.aborted; waitMs = startMs - clock.now())
      await sleep(clock, waitMs, signal);
    // Why it was aborted says what becomes of it.
    if (signal.aborted) return undefined;
    if (clock.now() < endMs) return undefined;
    this.#host.services.emit({ type: "deferred", reason: "rate-limit", delayMs: 0, ...markOf(this.#record) });
    return {
      kind: "deferred",
      delayMs: 0,
      failure: { code: "ERROR", message: "its rate limit slot was over before it could start" },
    };
  }

  /** Lets no child be made by an attempt that another worker has taken over. */
  #guarded(enqueue: TaskContext["enqueue"]): TaskContext["enqueue"] {
    return async (task, input, options) => {
      await this.#assertHeld();
      return enqueue(task, input, options);
    };
  }

  /**
   * While the lease lasts nobody can have taken over; after that only the ledger knows.
   *
   * @throws TasklaneError `LEASE_LOST`, or that the ledger does not tell
   */
  async #assertHeld(): Promise<void> {
    const { clock, backend } = this.#host.services;
    const { id, fence, owner, leaseUntil = 0 } = this.#record;
    if (!this.#lost && clock.now() > leaseUntil) {
      const [outcome] = await backend.ledger.renewMany([
        { id, fence, owner, patch: { set: { leaseUntil: clock.now() } } },
      ]);
      if (outcome?.kind === "failed") throw outcome.error;
      if (outcome?.kind === "refused" && !this.#lost) this.#onLost();
    }
    if (this.#lost)
      throw abortReason("LEASE_LOST", "another worker has taken the task over, so this attempt may not enqueue");
  }

  #onLost(): void {
    this.#lost = true;
    this.#host.services.emit({ type: "lease-lost", attempt: this.#record.attempts, ...markOf(this.#record) });
    this.abort.abort(abortReason("LEASE_LOST", "another worker has taken the task over"));
  }

  #onRenewed(record: TaskRecord): void {
    this.#record = record;
    if (record.cancelRequested !== undefined && !this.abort.signal.aborted)
      this.abort.abort(abortReason("CANCELLED", record.cancelRequested));
  }

  /** Settles a claim whose handler never started: that is no attempt. */
  #settleUnstarted(outcome: Outcome, json: string | undefined, unknownSince?: number): Promise<Disposal> {
    const result: RunResult = { outcome, output: undefined, abandoned: false };
    return this.#settle(result, 0, json, unknownSince, { attempts: this.#record.attempts - 1 });
  }

  async #settle(
    result: RunResult,
    runMs: number,
    json: string | undefined,
    unknownSince?: number,
    set: Partial<TaskRecord> = {},
  ): Promise<Disposal> {
    const { services } = this.#host;
    const { clock, random } = services;
    const progress = await this.#progress.end();
    const record = this.#record;
    const decided = decideSettlement(record, result.outcome, this.#handler.definition, clock.now(), random.next());
    const settlement = withSet(decided, { ...set, progress });
    await noteOutcome(services, record, settlement, runMs, this.#host.worker);
    let troubled = false;
    const settled = await writeSettlement(
      services,
      record,
      settlement,
      result.output,
      (error) => {
        services.emit({ type: "settle-delayed", taskId: record.id, error: String(error) });
        if (!troubled) this.#host.onSettleTrouble(true);
        troubled = true;
      },
      this.#host.giveUp,
    );
    if (troubled) this.#host.onSettleTrouble(false);
    this.#host.heartbeat.release(this.#candidate.delivery);
    const lost = settled.kind === "lost";
    reportAttempt(this.#host, record, result, settlement, runMs, lost);
    // A message of ours is not touched any more: whoever has the task now needs it.
    if (lost) return { kind: "let-go" };
    return this.#dispose(settlement, settled.record, json, unknownSince);
  }

  /** The one queue action that follows a settlement, and then the message is acknowledged. */
  async #dispose(
    settlement: Settlement,
    record: TaskRecord,
    json: string | undefined,
    unknownSince?: number,
  ): Promise<Disposal> {
    const { services } = this.#host;
    switch (settlement.next) {
      case "acknowledge":
        return { kind: "acknowledge" };
      case "put-back": {
        const [sent] = await sendWakeUps(services, [wakeUp(services, record, json, { unknownSince })]);
        // Unsent, the old message serves: it comes back when its time out of sight is over.
        return sent?.ok === true
          ? { kind: "acknowledge" }
          : { kind: "release", visibilityMs: Math.max(1_000, settlement.delayMs ?? 0) };
      }
      case "bury": {
        const sent = await sendDeadLetter(services, record).catch(() => false);
        return sent ? { kind: "acknowledge" } : { kind: "release", visibilityMs: 5_000 };
      }
    }
  }
}

function withSet(settlement: Settlement, set: Partial<TaskRecord>): Settlement {
  return { ...settlement, patch: { ...settlement.patch, set: { ...settlement.patch.set, ...set } } };
}
