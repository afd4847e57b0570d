import { sleep } from "../ports/clock.ts";
import type { AnyTask, TaskOutput } from "../task/define-task.ts";
import { formatDuration, parseDuration } from "../task/duration.ts";
import { TasklaneError } from "../task/errors.ts";
import { itemBytes } from "../task/item-size.ts";
import { canonicalJson, parseUntrustedJson, utf8Bytes } from "../task/json.ts";
import { checkOptions } from "../task/known-options.ts";
import { PAYLOAD_MAX_BYTES, RECORD_MAX_BYTES } from "../task/limits.ts";
import { encodeRecord } from "../task/record-codec.ts";
import { parseJson } from "../task/parse-json.ts";
import type { TaskRecord } from "../task/record.ts";
import { shorten } from "../task/outcome.ts";
import { isGone } from "../task/record.ts";
import { describeIssues, inputInvalid, validate } from "../task/standard-schema.ts";
import { isFinal } from "../task/states.ts";
import type { TaskState } from "../task/states.ts";
import type { ResultOptions, TaskDetails, TaskRef } from "../task/task-ref.ts";
import { RECORD_MESSAGE_MAX_CHARS, readMeta } from "./dead-letter.ts";
import { retentionOf } from "./expire.ts";
import { readHistory } from "./history.ts";
import { checkSize, loadOutput } from "./payload.ts";
import { redriveTask } from "./redrive.ts";
import type { Services } from "./services.ts";

const POLL_FIRST_MS = 100;
const POLL_FACTOR = 1.6;
const POLL_MAX_MS = 5_000;

/** What acts on tasks: services that may not be connected yet. */
export type Connected = Services | (() => Promise<Services>);

/** A handle on a task. Making it does no I/O. */
export function taskRef<T extends AnyTask>(connected: Connected, task: T, id: string): TaskRef<T> {
  const services = (): Promise<Services> =>
    typeof connected === "function" ? connected() : Promise.resolve(connected);
  return {
    id,
    get: async () => readDetails(await services(), id),
    result: async (options) => awaitResult(await services(), task, id, options ?? {}),
    cancel: async (reason) => cancelTask(await services(), id, reason ?? "cancelled by a caller"),
    redrive: async (options) => redrive(await services(), task, id, options),
  };
}

async function readRecord(services: Services, id: string): Promise<TaskRecord> {
  const [record] = await services.backend.ledger.readMany([id]);
  if (record !== undefined && !isGone(record, services.clock.now())) return record;
  throw new TasklaneError("TASK_NOT_FOUND", {
    what: `No task has the id ${id}`,
    fix: "check the id and the queue; a record is removed when its retention is over",
  });
}

/** What a record tells, as callers see it. */
export function detailsOf(record: TaskRecord): TaskDetails {
  const { id, task, lane, state, epoch, attempts, failures, crashes, snoozes, interruptions } = record;
  const {
    createdAt,
    notBefore,
    startedAt,
    finishedAt,
    startBy,
    leaseUntil,
    cancelRequested,
    reason,
    message,
    traceparent,
  } = record;
  const counts = { epoch, attempts, failures, crashes, snoozes, interruptions };
  const times = { createdAt, notBefore, startedAt, finishedAt, startBy, leaseUntil };
  const progress = record.progress === undefined ? undefined : parseJson(record.progress);
  const meta = record.meta === undefined ? undefined : (parseJson(record.meta) as TaskDetails["meta"]);
  return { id, task, lane, state, ...counts, ...times, cancelRequested, reason, message, traceparent, progress, meta };
}

async function readDetails(services: Services, id: string): Promise<TaskDetails> {
  const record = await readRecord(services, id);
  const [history, meta] = await Promise.all([readHistory(services, record), readMeta(services, record)]);
  return { ...detailsOf(record), meta, history };
}

async function awaitResult<T extends AnyTask>(
  services: Services,
  task: T,
  id: string,
  options: ResultOptions,
): Promise<TaskOutput<T>> {
  const { clock, random } = services;
  checkOptions(options, ["timeout", "signal"], "OPTION_INVALID", "result()");
  const timeoutMs = parseDuration(options.timeout ?? "60s", "timeout of result()");
  const deadline = clock.monotonic() + timeoutMs;
  for (let waitMs = POLL_FIRST_MS; ; waitMs = Math.min(POLL_MAX_MS, waitMs * POLL_FACTOR)) {
    const record = await readRecord(services, id);
    if (isFinal(record.state)) return readResult(services, task, record);
    const leftMs = deadline - clock.monotonic();
    if (options.signal?.aborted)
      throw new TasklaneError("RESULT_TIMEOUT", {
        what: `The wait for task ${id} was ended by its signal`,
        received: record.state,
        fix: "come back later: the task goes on",
        cause: options.signal.reason,
      });
    if (leftMs <= 0)
      throw new TasklaneError("RESULT_TIMEOUT", {
        what: `Task ${id} did not end within ${formatDuration(timeoutMs)}`,
        received: `${record.state}, ${record.attempts} attempts, ${record.failures} failed`,
        fix:
          record.attempts === 0 && record.notBefore <= clock.now()
            ? `check that a worker with a handler for "${record.task}" runs on this topology, and what its log says: none has started it yet`
            : "wait longer, or come back later: the task goes on, and get() tells of its attempts",
      });
    await sleep(clock, Math.min(leftMs, waitMs * (0.75 + 0.5 * random.next())), options.signal);
  }
}

async function readResult<T extends AnyTask>(services: Services, task: T, record: TaskRecord): Promise<TaskOutput<T>> {
  if (record.state !== "succeeded") throw endedOtherwise(record);
  if (task.output === undefined || record.output === undefined) return undefined as TaskOutput<T>;
  const json = await loadOutput(services, record.id, record.output, record.fence);
  const parsed = parseUntrustedJson(json, PAYLOAD_MAX_BYTES);
  const checked = parsed.ok ? await validate(task.output, parsed.value) : undefined;
  if (checked?.ok === true) return checked.value as TaskOutput<T>;
  throw new TasklaneError("OUTPUT_INVALID", {
    what: `The result of task ${record.id} does not match this output schema: ${
      checked === undefined ? "it is unreadable JSON" : describeIssues(checked.issues)
    }`,
    fix: "read it with the definition that its worker had",
  });
}

function endedOtherwise(record: TaskRecord): TasklaneError {
  const { id, task, state, reason, message } = record;
  const code = state === "dead" ? "TASK_DEAD" : state === "cancelled" ? "TASK_CANCELLED" : "TASK_EXPIRED";
  return new TasklaneError(code, {
    what: `Task "${task}" ${id} is ${state}`,
    received: [reason, message].filter((part) => part !== undefined && part !== "").join(": ") || undefined,
    fix: state === "dead" ? "get() has the attempts; redrive() starts it again" : undefined,
  });
}

/** What the times of a lease that is renewed may still add to a record. */
const RENEWAL_BYTES = 16;

/** Shortens a reason until the record that holds it stays within one write unit. */
function fitReason(record: TaskRecord, reason: string): string {
  const bytes = itemBytes(encodeRecord({ ...record, cancelRequested: reason })) + RENEWAL_BYTES;
  // A character has at least one byte, and the mark of what was cut has three.
  const over = bytes + 3 - RECORD_MAX_BYTES;
  return bytes <= RECORD_MAX_BYTES ? reason : shorten(reason, Math.max(1, reason.length - over));
}

/** Ends a queued task, or asks a running one to stop. Which of cancel and completion came first is decided by one conditional write. */
async function cancelTask(services: Services, id: string, reason: string): Promise<TaskState> {
  for (let round = 0; round < 10; round++) {
    const record = await readRecord(services, id);
    if (isFinal(record.state))
      throw new TasklaneError("CANCEL_REFUSED", { what: `Task ${id} has ended already`, received: record.state });
    const now = services.clock.now();
    const message = shorten(reason, RECORD_MESSAGE_MAX_CHARS);
    const patch =
      record.state === "running"
        ? { set: { cancelRequested: fitReason(record, message) } }
        : {
            set: {
              state: "cancelled" as const,
              reason: "CANCELLED" as const,
              message,
              finishedAt: now,
              expiresAt: now + retentionOf(record),
            },
            remove: ["owedAt" as const, "cancelRequested" as const],
          };
    const [outcome] = await services.backend.ledger.changeMany([{ id, seen: record, patch }]);
    if (outcome?.kind === "written") return outcome.record.state;
    if (outcome?.kind === "failed") throw outcome.error;
  }
  throw new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `Task ${id} changed ten times while it was to be cancelled`,
    fix: "try again",
  });
}

async function redrive(services: Services, task: AnyTask, id: string, options?: { input?: unknown }): Promise<void> {
  const json =
    options !== undefined && "input" in options && options.input !== undefined
      ? await checkInput(task, options.input)
      : undefined;
  const redriven = await redriveTask(services, id, { json });
  if (redriven.kind === "redriven") return;
  if (redriven.kind === "failed") throw redriven.error;
  const { record } = redriven;
  if (record === undefined)
    throw new TasklaneError("TASK_NOT_FOUND", { what: `No task has the id ${id}`, fix: "check the id and the queue" });
  throw new TasklaneError("REDRIVE_REFUSED", {
    what: `Task ${id} cannot be redriven`,
    received: record.state,
    expected: "dead",
    fix: isFinal(record.state) ? "enqueue it again" : "let it run to its end",
  });
}

async function checkInput(task: AnyTask, input: unknown): Promise<string> {
  const json = canonicalJson(input, `input of task "${task.name}"`);
  checkSize(utf8Bytes(json));
  const checked = await validate(task.input, input);
  if (checked.ok) return json;
  throw inputInvalid(task.name, checked.issues);
}
