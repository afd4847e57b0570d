import { createHash } from "node:crypto";
import type { AnyTask } from "../task/define-task.ts";
import { formatDuration, parseDuration } from "../task/duration.ts";
import { isTaskId } from "../task/envelope.ts";
import { TasklaneError } from "../task/errors.ts";
import { itemBytes } from "../task/item-size.ts";
import { canonicalJson, utf8Bytes } from "../task/json.ts";
import type { Json } from "../task/json.ts";
import { checkOptions } from "../task/known-options.ts";
import type { Lane } from "../task/lane.ts";
import { isLane, LANES } from "../task/lane.ts";
import {
  META_MAX_BYTES,
  PAYLOAD_MARGIN_MS,
  RECORD_INPUT_MAX_BYTES,
  RECORD_MAX_BYTES,
  RECORD_META_MAX_BYTES,
} from "../task/limits.ts";
import type { LifeClass } from "../task/payload-ref.ts";
import { LIFE_CLASSES, lifeClassFor } from "../task/payload-ref.ts";
import { encodeRecord } from "../task/record-codec.ts";
import { describeFailure } from "../task/outcome.ts";
import type { TaskRecord } from "../task/record.ts";
import { FRESH_COUNTS } from "../task/record.ts";
import { inputInvalid, validate } from "../task/standard-schema.ts";
import type { EnqueueOptions } from "../task/task-ref.ts";
import { checkSize, hashText, placePayload } from "./payload.ts";
import type { PlacedPayload } from "./payload.ts";
import type { Services } from "./services.ts";
import { TRACEPARENT } from "./trace.ts";

/** A task that was checked and is ready to be written. */
export interface PreparedTask {
  readonly record: TaskRecord;
  readonly json: string;
  /** To be stored before the record is written. */
  readonly placed: PlacedPayload | undefined;
  /** Meta that does not fit the record. */
  readonly metaAside: string | undefined;
  /** Until when side items have to be kept. */
  readonly keptUntil: number;
  /** Compress where it saves a unit. */
  readonly compress: boolean;
}

/** What a producer adds to every task. */
export interface PrepareContext {
  readonly submitter: Readonly<Record<string, Json>>;
  readonly traceparent: string | undefined;
  readonly compress: boolean;
}

/**
 * What the record still gains on its way: a message id, a lease, counters, a result's place. Kept free at the start so that
 * each later write costs one unit too.
 */
const GROWTH_BYTES = 200;

const ENQUEUE_OPTIONS: readonly (keyof EnqueueOptions)[] = [
  "delay",
  "runAt",
  "expires",
  "lane",
  "idempotencyKey",
  "meta",
  "traceparent",
  "id",
];

/**
 * Checks a call and makes the record of it, without I/O.
 *
 * @throws TasklaneError `INPUT_NOT_JSON`, `INPUT_INVALID`, `PAYLOAD_TOO_LARGE`, `OPTION_INVALID`, `DURATION_INVALID`, `LIFETIME_TOO_LONG`
 */
export async function prepareTask(
  services: Services,
  task: AnyTask,
  input: unknown,
  options: EnqueueOptions,
  context: PrepareContext,
): Promise<PreparedTask> {
  if (typeof task !== "object" || task === null || typeof task.handle !== "function")
    refuse(
      "What is to be enqueued is no task definition",
      task,
      "what defineTask returns, not its name or its handler",
    );
  const what = `input of task "${task.name}"`;
  checkOptions(options, ENQUEUE_OPTIONS, "OPTION_INVALID", `enqueueing task "${task.name}"`);
  const json = canonicalJson(input, what);
  checkSize(utf8Bytes(json));
  const checked = await validate(task.input, input);
  if (!checked.ok) throw inputInvalid(task.name, checked.issues);
  const now = services.clock.now();
  const inputHash = hashText(json);
  const notBefore = readStart(options, now);
  const { life, keptUntil } = chooseLife(task, notBefore, now);
  const meta = readMeta(options, context);
  const record: TaskRecord = {
    id: readId(services, task, input, options, now),
    task: task.name,
    lane: readLane(options, task),
    state: "queued",
    epoch: 1,
    fence: now,
    owner: services.random.token(),
    createdAt: now,
    dueAt: notBefore,
    notBefore,
    startBy: readExpiry(options, now, notBefore),
    ...FRESH_COUNTS,
    retentionMs: task.retentionMs,
    input: { at: "record", json: "" },
    inputHash,
    traceparent: readTraceparent(options.traceparent) ?? context.traceparent,
  };
  const metaFits = meta !== undefined && utf8Bytes(meta) <= RECORD_META_MAX_BYTES;
  if (meta !== undefined) Object.assign(record, metaFits ? { meta } : { metaAside: true });
  const placed = utf8Bytes(json) <= roomForInput(record) ? undefined : placePayload(json, life, now, context.compress);
  record.input = placed?.ref ?? { at: "record", json };
  return { record, json, placed, metaAside: metaFits ? undefined : meta, keptUntil, compress: context.compress };
}

/** How many bytes of input a record has room for, if it is to stay within one write unit on its way. */
export function roomForInput(record: TaskRecord): number {
  const bare: TaskRecord = { ...record, input: { at: "record", json: "" } };
  return Math.min(RECORD_INPUT_MAX_BYTES, RECORD_MAX_BYTES - GROWTH_BYTES - itemBytes(encodeRecord(bare)));
}

/** The id of a keyed task is a hash, so that the conditional put of its record is the dedupe. */
function keyedTaskId(queue: string, task: string, key: string): string {
  return createHash("sha256")
    .update(JSON.stringify([queue, task, key]))
    .digest("base64url")
    .slice(0, 32);
}

function readId(services: Services, task: AnyTask, input: unknown, options: EnqueueOptions, now: number): string {
  const key = options.idempotencyKey ?? (options.id === undefined ? readKey(task, input) : undefined);
  if (key !== undefined && options.id !== undefined)
    refuse(
      "An idempotency key and an id were given at once",
      { idempotencyKey: key, id: options.id },
      "one of the two",
      "leave out id: the key names the task",
    );
  if (key !== undefined) {
    if (typeof key !== "string" || key === "" || key.length > 1_024)
      refuse(`The idempotency key of task "${task.name}" is no key`, key, "a text of 1 to 1024 characters");
    return keyedTaskId(services.backend.topology.queue, task.name, key);
  }
  if (options.id === undefined) return services.random.id(now);
  return isTaskId(options.id)
    ? options.id
    : refuse("The id is no task id", options.id, "the taskId of an ENQUEUE_UNKNOWN error");
}

function readTraceparent(value: string | undefined): string | undefined {
  if (value === undefined || TRACEPARENT.test(value)) return value;
  return refuse(
    "The option traceparent is no W3C trace context",
    value,
    "00-<32 hex digits>-<16 hex digits>-<2 hex digits>",
  );
}

/** An app's own function that throws refuses this task only, not the batch it came in. */
function readKey(task: AnyTask, input: unknown): string | undefined {
  try {
    return task.idempotencyKey?.(input);
  } catch (cause) {
    throw new TasklaneError("OPTION_INVALID", {
      what: `The idempotencyKey of task "${task.name}" threw`,
      received: describeFailure(cause).message,
      fix: "make it work for every input that the schema accepts",
      cause,
    });
  }
}

function readLane(options: EnqueueOptions, task: AnyTask): Lane {
  const lane = options.lane ?? task.lane;
  return isLane(lane) ? lane : refuse("The lane does not exist", lane, LANES.map((name) => `"${name}"`).join(", "));
}

function readStart(options: EnqueueOptions, now: number): number {
  // The type rules this out; plain JavaScript does not.
  const given: { delay?: unknown; runAt?: unknown } = options;
  if (given.delay !== undefined && given.runAt !== undefined)
    refuse(
      "Both delay and runAt were given",
      { delay: given.delay, runAt: given.runAt },
      "one of the two",
      "keep runAt for a fixed time",
    );
  if (options.delay !== undefined) return now + parseDuration(options.delay, "delay");
  if (options.runAt === undefined) return now;
  return Math.max(now, readDate(options.runAt, "runAt"));
}

function readExpiry(options: EnqueueOptions, now: number, notBefore: number): number | undefined {
  if (options.expires === undefined) return undefined;
  const at =
    options.expires instanceof Date
      ? readDate(options.expires, "expires")
      : now + parseDuration(options.expires, "expires");
  if (at <= notBefore)
    refuse(
      "The task would expire before it may start",
      { expires: options.expires, startsAt: new Date(notBefore).toISOString() },
      "expires after delay or runAt",
    );
  return at;
}

function readDate(value: Date, name: string): number {
  const at = value instanceof Date ? value.getTime() : Number.NaN;
  return Number.isFinite(at) ? at : refuse(`The option ${name} is no date`, value, "a valid Date");
}

function readMeta(options: EnqueueOptions, context: PrepareContext): string | undefined {
  const meta = { ...context.submitter, ...options.meta };
  if (Object.keys(meta).length === 0) return undefined;
  const json = canonicalJson(meta, "option meta");
  if (utf8Bytes(json) > META_MAX_BYTES)
    refuse(
      "The option meta is too large",
      `${utf8Bytes(json)} bytes`,
      `at most ${META_MAX_BYTES} bytes of JSON`,
      "put data into the input",
    );
  return json;
}

function chooseLife(task: AnyTask, notBefore: number, now: number): { life: LifeClass; keptUntil: number } {
  const span = notBefore - now + task.maxLifetimeMs + task.retentionMs + PAYLOAD_MARGIN_MS;
  const life = lifeClassFor(span);
  if (life !== undefined) return { life: life.prefix, keptUntil: now + life.days * 86_400_000 };
  const longest = LIFE_CLASSES[LIFE_CLASSES.length - 1]?.days ?? 0;
  throw new TasklaneError("LIFETIME_TOO_LONG", {
    what: `Task "${task.name}" would outlive its stored input`,
    received: `${formatDuration(span)} of delay, maxLifetime, retention and 19 days of margin`,
    expected: `at most ${longest} days`,
    fix: "shorten the delay or the retention, or enqueue it later from a schedule",
  });
}

function refuse(what: string, received: unknown, expected: string, fix?: string): never {
  throw new TasklaneError("OPTION_INVALID", { what, received, expected, fix });
}
