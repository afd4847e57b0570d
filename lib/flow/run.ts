import type { Clock } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import type { TaskContext, TaskLog } from "../task/context.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { formatDuration } from "../task/duration.ts";
import type { Envelope } from "../task/envelope.ts";
import { TasklaneError } from "../task/errors.ts";
import { canonicalJson, parseUntrustedJson, utf8Bytes } from "../task/json.ts";
import { ERROR_MESSAGE_MAX_CHARS, PAYLOAD_MAX_BYTES, UNKNOWN_TASK_MAX_MS } from "../task/limits.ts";
import type { Failure, Outcome } from "../task/outcome.ts";
import { describeFailure, outcomeOfError, shorten } from "../task/outcome.ts";
import type { TaskRecord } from "../task/record.ts";
import { describeIssues, validate } from "../task/standard-schema.ts";
import { checkSize, loadInput } from "./payload.ts";
import type { Services } from "./services.ts";

/** An input that is ready for its handler, or the outcome that keeps the handler from starting. */
export type ReadyInput =
  | { readonly ok: true; readonly input: unknown; readonly json: string }
  | {
      readonly ok: false;
      readonly outcome: Outcome;
      readonly json: string | undefined;
      readonly unknownSince?: number;
    };

const UNAVAILABLE_DELAY_MS = 5_000;
const UNKNOWN_DELAY_MS = 60_000;

/**
 * Reads a task's input and applies the worker's schema. A payload that is gone or altered ends the task; a store that does
 * not answer says nothing about the payload, so the claim is given back. An input that this worker's schema refuses was
 * accepted by its producer's: a deploy may be rolling, so it waits for a worker that knows better, for a day.
 */
export async function readyInput(
  services: Services,
  handler: TaskHandler,
  record: TaskRecord,
  envelope: Envelope,
  signal: AbortSignal,
): Promise<ReadyInput> {
  let json: string;
  try {
    const copy = envelope.epoch === record.epoch ? envelope.payload : undefined;
    json = await loadInput(services, record.id, record.input, copy);
  } catch (error) {
    const failure = describeFailure(error);
    if (TasklaneError.is(error, "PAYLOAD_MISSING") || TasklaneError.is(error, "PAYLOAD_CORRUPT"))
      return { ok: false, outcome: { kind: "dead", failure }, json: undefined };
    const delayMs = Math.round(UNAVAILABLE_DELAY_MS * (0.5 + services.random.next()));
    return { ok: false, outcome: { kind: "deferred", failure, delayMs }, json: undefined };
  }
  const parsed = parseUntrustedJson(json, PAYLOAD_MAX_BYTES);
  if (!parsed.ok) {
    const failure: Failure = { code: "PAYLOAD_CORRUPT", message: `the input is refused: ${parsed.reason}` };
    return { ok: false, outcome: { kind: "dead", failure }, json };
  }
  const checked = await inTime(
    services.clock,
    handler.definition.timeoutMs,
    validate(handler.definition.input, parsed.value),
    signal,
  );
  if (checked === undefined) {
    const failure: Failure = { code: "TIMEOUT", message: "the input schema did not answer within the task's timeout" };
    return { ok: false, outcome: { kind: "retry", failure }, json };
  }
  if (checked.ok) return { ok: true, input: checked.value, json };
  const failure: Failure = {
    code: "INPUT_INVALID",
    message: shorten(
      `this worker's schema refuses the input: ${describeIssues(checked.issues)}`,
      ERROR_MESSAGE_MAX_CHARS,
    ),
  };
  const now = services.clock.now();
  // Only the message of its last put-back tells since when: a worker that takes it has run it since an older one was written.
  const { unknownSince: noted = now, notBefore = 0 } = envelope;
  const unknownSince = record.notBefore <= Math.max(noted, notBefore) ? noted : now;
  if (now - unknownSince >= UNKNOWN_TASK_MAX_MS) return { ok: false, outcome: { kind: "dead", failure }, json };
  const delayMs = Math.round(UNKNOWN_DELAY_MS * (0.5 + services.random.next()));
  return { ok: false, outcome: { kind: "deferred", failure, delayMs }, json, unknownSince };
}

/** What a promise comes to, or `undefined` if that takes too long or the signal aborts. */
async function inTime<T>(clock: Clock, ms: number, promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  const early = new AbortController();
  const late = sleep(clock, ms, AbortSignal.any([early.signal, signal])).then(() => undefined);
  return Promise.race([promise, late]).finally(() => early.abort());
}

/** What a promise comes to, or `undefined` once the signal aborts: what it comes to after that is nobody's concern. */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
  promise.catch(() => undefined);
  if (signal.aborted) return undefined;
  const { promise: aborted, resolve } = Promise.withResolvers<undefined>();
  const onAbort = (): void => resolve(undefined);
  signal.addEventListener("abort", onAbort, { once: true });
  return Promise.race([promise, aborted]).finally(() => signal.removeEventListener("abort", onAbort));
}

/** The part of a running attempt that others reach into. */
export interface Attempt {
  readonly handler: TaskHandler;
  readonly record: TaskRecord;
  readonly abort: AbortController;
  readonly log: TaskLog;
  readonly progress: TaskContext["progress"];
  readonly enqueue: TaskContext["enqueue"];
  /** How long the handler may go on after an abort, in milliseconds, asked when that happens. */
  readonly abortGraceMs: () => number;
  /** How much of its timeout the host has at most, in milliseconds. Default: all of it. */
  readonly timeLimitMs?: number | undefined;
}

/** What running a handler came to. */
export interface RunResult {
  readonly outcome: Outcome;
  /** Canonical JSON of the result, if the task has an output schema and succeeded. */
  readonly output: string | undefined;
  /** The handler ignored its signal: it may still be running, so this process must end soon. */
  readonly abandoned: boolean;
}

/** Why an attempt's signal was aborted, as its handler sees it. */
export function abortReason(code: "TIMEOUT" | "SHUTDOWN" | "CANCELLED" | "LEASE_LOST", what: string): TasklaneError {
  return new TasklaneError(code, { what });
}

/** Runs the handler under its timeout, and turns whatever it does into an outcome. Never throws. */
export async function runHandler(services: Services, attempt: Attempt, input: unknown): Promise<RunResult> {
  const { handler, abort } = attempt;
  const { timeoutMs, name } = handler.definition;
  const { timeLimitMs = timeoutMs } = attempt;
  const timeout = services.clock.timer(Math.min(timeoutMs, timeLimitMs), () => {
    const limited = timeLimitMs < timeoutMs ? `the ${timeLimitMs} ms that its host has for ` : "";
    const what = `task "${name}" ran longer than ${limited}its timeout of ${formatDuration(timeoutMs)}`;
    abort.abort(abortReason("TIMEOUT", what));
  });
  const ignored = ignoredAbort(services.clock, abort.signal, attempt.abortGraceMs);
  try {
    const running = Promise.resolve().then(() => handler.run(input, contextOf(attempt)));
    const ended = await Promise.race([
      running.then(
        // The output schema is the app's own code too, and has to be done in time.
        async (value) => ({ kind: "returned" as const, result: await readOutput(handler, value) }),
        (error: unknown) => ({ kind: "threw" as const, error }),
      ),
      ignored.promise,
    ]);
    if (ended.kind === "returned") return ended.result;
    const outcome = outcomeUnderAbort(ended.kind === "threw" ? ended.error : abort.signal.reason, abort.signal);
    return { outcome, output: undefined, abandoned: ended.kind === "ignored" };
  } finally {
    timeout.cancel();
    ignored.stop();
  }
}

/** Resolves when the signal was aborted and the grace after it is over. */
function ignoredAbort(
  clock: Clock,
  signal: AbortSignal,
  graceMs: () => number,
): { promise: Promise<{ kind: "ignored" }>; stop(): void } {
  let stop: () => void = () => undefined;
  const promise = new Promise<{ kind: "ignored" }>((resolve) => {
    const onAbort = () => {
      const timer = clock.timer(graceMs(), () => resolve({ kind: "ignored" }));
      stop = () => timer.cancel();
    };
    signal.addEventListener("abort", onAbort, { once: true });
    stop = () => signal.removeEventListener("abort", onAbort);
    if (signal.aborted) onAbort();
  });
  return { promise, stop: () => stop() };
}

/** A named error keeps its meaning; whatever else was thrown after an abort is laid to what caused the abort. */
function outcomeUnderAbort(error: unknown, signal: AbortSignal): Outcome {
  const outcome = outcomeOfError(error);
  if (!signal.aborted || outcome.kind !== "retry" || outcome.delayMs !== undefined) return outcome;
  const failure = describeFailure(signal.reason);
  if (TasklaneError.is(signal.reason, "SHUTDOWN")) return { kind: "interrupted", failure };
  if (TasklaneError.is(signal.reason, "CANCELLED")) return { kind: "cancelled", failure };
  return { kind: "retry", failure };
}

async function readOutput(handler: TaskHandler, value: unknown): Promise<RunResult> {
  const { output: schema, name } = handler.definition;
  if (schema === undefined)
    return { outcome: { kind: "succeeded", output: undefined }, output: undefined, abandoned: false };
  try {
    const json = canonicalJson(value, `result of task "${name}"`);
    checkSize(utf8Bytes(json));
    const checked = await validate(schema, value);
    if (checked.ok) return { outcome: { kind: "succeeded", output: checked.value }, output: json, abandoned: false };
    return invalidOutput(`the result does not match the output schema: ${describeIssues(checked.issues)}`);
  } catch (error) {
    return invalidOutput(describeFailure(error).message);
  }
}

function invalidOutput(message: string): RunResult {
  return {
    outcome: { kind: "retry", failure: { code: "OUTPUT_INVALID", message: shorten(message, ERROR_MESSAGE_MAX_CHARS) } },
    output: undefined,
    abandoned: false,
  };
}

function contextOf(attempt: Attempt): TaskContext {
  const { record, abort, log } = attempt;
  return {
    taskId: record.id,
    task: record.task,
    attempt: record.attempts,
    fence: record.fence,
    idempotencyKey: record.id,
    traceparent: record.traceparent,
    signal: abort.signal,
    log,
    progress: attempt.progress,
    enqueue: attempt.enqueue,
  };
}
