import { Backpressure } from "../control/backpressure.ts";
import type { AnyTask } from "../task/define-task.ts";
import type { EnqueueFailure } from "../task/errors.ts";
import { EnqueueManyError, TasklaneError } from "../task/errors.ts";
import { canonicalJson } from "../task/json.ts";
import type { Lane } from "../task/lane.ts";
import type { TaskRecord } from "../task/record.ts";
import type { EnqueuedTask, EnqueueEntry, EnqueueOptions } from "../task/task-ref.ts";
import { mapBounded } from "./bounded.ts";
import type { EnqueueOutcome } from "./enqueue.ts";
import { enqueuePrepared } from "./enqueue.ts";
import { hashText } from "./payload.ts";
import type { PreparedTask } from "./prepare.ts";
import { prepareTask } from "./prepare.ts";
import type { Services } from "./services.ts";
import type { Submitter } from "./submitter.ts";
import { submitterMeta } from "./submitter.ts";
import { taskRef } from "./task-handle.ts";
import { activeTraceparent } from "./trace.ts";

/** How a producer behaves. */
export interface ProducerOptions {
  /** Named in every task's meta. */
  readonly submitter?: Submitter | undefined;
  /** zstd above 4 KB where it saves a unit. Default true; off keeps payloads readable in the consoles of SQS and DynamoDB. */
  readonly compress?: boolean | undefined;
  readonly env?: Readonly<Record<string, string | undefined>> | undefined;
}

/** Entries of a batch that are worked on together: bounds memory, and keeps SQS's batches full. */
const CHUNK = 250;
const PREPARES_AT_ONCE = 50;

/** Puts tasks into a queue. */
export class Producer {
  readonly #services: Services;
  readonly #backpressure: Backpressure;
  readonly #meta: ReturnType<typeof submitterMeta>;
  readonly #compress: boolean;

  constructor(services: Services, options: ProducerOptions = {}) {
    this.#services = services;
    this.#compress = options.compress ?? true;
    this.#meta = submitterMeta(options.submitter, options.env ?? {});
    const { backend, clock } = services;
    this.#backpressure = new Backpressure(backend.queue, backend.topology, clock, {
      warn: (lane, backlog, maxBacklog) => services.emit({ type: "backlog-warning", lane, backlog, maxBacklog }),
      unknown: (lane, error) => services.emit({ type: "depth-unknown", lane, error: String(error) }),
    });
  }

  /** @throws TasklaneError whatever refuses the task, or `ENQUEUE_UNKNOWN` */
  async enqueue<T extends AnyTask>(task: T, input: unknown, options: EnqueueOptions = {}): Promise<EnqueuedTask<T>> {
    const prepared = await this.#prepare(task, input, options);
    await this.#backpressure.admit(prepared.record.lane);
    const [outcome] = await enqueuePrepared(this.#services, [prepared]);
    if (outcome === undefined) throw new TasklaneError("BACKEND_UNAVAILABLE", { what: "The task was not handled" });
    if (!outcome.ok) throw outcome.error;
    return this.#accepted(task, outcome);
  }

  /** @throws EnqueueManyError `ENQUEUE_MANY_FAILED`, which holds what was accepted and what was refused */
  async enqueueMany<T extends AnyTask>(task: T, entries: readonly EnqueueEntry<T>[]): Promise<EnqueuedTask<T>[]> {
    if (!Array.isArray(entries))
      throw new TasklaneError("OPTION_INVALID", {
        what: "The entries of enqueueMany are no list",
        received: entries,
        expected: "[{ input, options }, …]",
        fix: "for a single task use enqueue(task, input)",
      });
    const outcomes: EnqueueOutcome[] = [];
    for (let start = 0; start < entries.length; start += CHUNK)
      outcomes.push(...(await this.#enqueueChunk(task, entries.slice(start, start + CHUNK))));
    const failed = outcomes.flatMap((outcome, index) => (outcome.ok ? [] : [{ index, error: outcome.error }]));
    const accepted = outcomes.flatMap((outcome, index) =>
      outcome.ok ? [{ index, task: this.#accepted(task, outcome) }] : [],
    );
    if (failed.length === 0) return accepted.map((entry) => entry.task);
    throw new EnqueueManyError<EnqueuedTask<T>>(
      {
        what: `${failed.length} of ${entries.length} entries of task "${task.name}" were refused`,
        received: failed[0]?.error.message,
        fix: isOneMistake(failed, entries.length)
          ? failed[0]?.error.fix
          : "error.accepted has what is in the queue, error.failed the rest with their errors: call again with those",
        cause: failed[0]?.error,
      },
      accepted,
      failed,
    );
  }

  /** `ctx.enqueue` of one attempt: a child without a key of its own is made once per parent, however often the parent runs. */
  childOf(
    parent: TaskRecord,
  ): <T extends AnyTask>(task: T, input: unknown, options?: EnqueueOptions) => Promise<EnqueuedTask<T>> {
    const calls = new Map<string, number>();
    return async (task, input, options = {}) => {
      const named =
        options.idempotencyKey !== undefined || options.id !== undefined || task.idempotencyKey !== undefined;
      const traceparent = options.traceparent ?? parent.traceparent;
      if (named) return this.enqueue(task, input, { ...options, traceparent });
      // Canonical, so that a parent which builds its input in another order does not have another child.
      const same = `${task.name}#${hashText(canonicalJson(input, `input of task "${task.name}"`))}`;
      const call = (calls.get(same) ?? 0) + 1;
      calls.set(same, call);
      return this.enqueue(task, input, {
        ...options,
        traceparent,
        idempotencyKey: `${parent.id}/${parent.epoch}/${same}/${call}`,
      });
    };
  }

  async #prepare(task: AnyTask, input: unknown, options: EnqueueOptions): Promise<PreparedTask> {
    const traceparent = options.traceparent ?? (await activeTraceparent());
    return prepareTask(this.#services, task, input, options, {
      submitter: this.#meta,
      traceparent,
      compress: this.#compress,
    });
  }

  /** One entry that is no entry, or whose own code throws, is refused alone: what the others came to must not be lost. */
  async #prepareEntry<T extends AnyTask>(task: T, entry: EnqueueEntry<T>): Promise<PreparedTask | TasklaneError> {
    try {
      if (typeof entry !== "object" || entry === null || !("input" in entry)) return withoutInput(entry);
      return await this.#prepare(task, entry.input, entry.options ?? {});
    } catch (error) {
      if (TasklaneError.is(error)) return error;
      const expected = "{ input, options? } with plain values";
      return new TasklaneError("OPTION_INVALID", {
        what: "An entry cannot be read",
        received: String(error),
        expected,
        cause: error,
      });
    }
  }

  async #enqueueChunk<T extends AnyTask>(task: T, entries: readonly EnqueueEntry<T>[]): Promise<EnqueueOutcome[]> {
    const prepared = await mapBounded(entries, PREPARES_AT_ONCE, (entry) => this.#prepareEntry(task, entry));
    const rooms = await this.#roomInLanes(prepared);
    const outcomes: EnqueueOutcome[] = [];
    const ready: { place: number; task: PreparedTask }[] = [];
    for (const [place, each] of prepared.entries()) {
      const room = TasklaneError.is(each) ? undefined : rooms.get(each.record.lane);
      if (TasklaneError.is(each)) outcomes[place] = { ok: false, error: each };
      else if (room?.refusal !== undefined && room.admitted-- <= 0)
        outcomes[place] = { ok: false, error: room.refusal };
      else ready.push({ place, task: each });
    }
    const written = await enqueuePrepared(
      this.#services,
      ready.map((entry) => entry.task),
    );
    for (const [at, { place }] of ready.entries()) outcomes[place] = written[at] ?? { ok: false, error: unanswered() };
    return outcomes;
  }

  async #roomInLanes(
    prepared: readonly (PreparedTask | TasklaneError)[],
  ): Promise<Map<Lane, { admitted: number; refusal: TasklaneError | undefined }>> {
    const counts = new Map<Lane, number>();
    for (const each of prepared)
      if (!TasklaneError.is(each)) counts.set(each.record.lane, (counts.get(each.record.lane) ?? 0) + 1);
    const rooms = new Map<Lane, { admitted: number; refusal: TasklaneError | undefined }>();
    for (const [lane, count] of counts) rooms.set(lane, await this.#backpressure.admitSome(lane, count));
    return rooms;
  }

  #accepted<T extends AnyTask>(task: T, outcome: Extract<EnqueueOutcome, { ok: true }>): EnqueuedTask<T> {
    const { record, duplicate } = outcome;
    return Object.assign(taskRef(this.#services, task, record.id), { duplicate, state: record.state });
  }
}

/** Whether every entry is refused for the same mistake in the call: then its fix is the fix of all. */
function isOneMistake(failed: readonly EnqueueFailure[], entries: number): boolean {
  const fix = failed[0]?.error.fix;
  const isSame = failed.every(({ error }) => error.code === "OPTION_INVALID" && error.fix === fix);
  return fix !== undefined && isSame && failed.length === entries;
}

/** Bare inputs in place of entries: their schema would complain of an input that nobody gave. */
function withoutInput(entry: unknown): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: "An entry of enqueueMany has no input",
    received: typeof entry === "object" && entry !== null ? Object.keys(entry) : entry,
    expected: "{ input, options? }",
    fix: "for plain inputs: inputs.map((input) => ({ input }))",
  });
}

function unanswered(): TasklaneError {
  return new TasklaneError("BACKEND_UNAVAILABLE", { what: "The task was not handled" });
}
