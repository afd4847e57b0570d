/**
 * Every error code that Tasklane throws or writes into a dead record, with what it means in one line.
 * `docs/errors.md` has a section for each; a test keeps the two equal.
 */
export const ERROR_CODES = {
  // Definitions and options: mistakes in code, thrown where the code is wrong.
  DEFINITION_INVALID: "a task or rate limit definition has a setting that cannot work",
  DURATION_INVALID: "a length of time is not a number with a unit",
  OPTION_INVALID: "an option of a call cannot work, alone or with another one",
  HANDLER_DUPLICATE: "two handlers of one worker serve the same task name",
  DEPLOYMENT_UNSAFE: "a construct would deploy, and then lose or repeat tasks",
  // Connection: the topology and the permissions.
  TOPOLOGY_MISSING: "no topology was given and no environment variable names one",
  TOPOLOGY_INVALID: "the topology is not JSON of the expected form",
  PERMISSION_DENIED: "AWS refused a call for lack of a permission",
  RESOURCE_MISSING: "a queue, table or bucket of the topology does not exist",
  BACKEND_UNAVAILABLE: "AWS did not answer, or answered with an error of its own",
  LOCAL_STACK_MISSING: "the packages of the embedded stack are not installed",
  RUNTIME_TOO_OLD: "this version of Node lacks what Tasklane needs",
  // Enqueue: the task was refused, or its fate is unknown.
  INPUT_NOT_JSON: "the input holds a value that JSON cannot carry",
  INPUT_INVALID: "the input does not match the task's schema",
  PAYLOAD_TOO_LARGE: "the input is larger than a payload may be",
  IDEMPOTENCY_CONFLICT: "the same idempotency key was used with another input",
  IDEMPOTENCY_IN_PROGRESS: "the same work is being done by another invocation",
  QUEUE_FULL: "the lane's backlog has reached its limit",
  ENQUEUE_UNKNOWN: "the ledger did not answer: the task may or may not have been accepted",
  ENQUEUE_MANY_FAILED: "some entries of a batch were refused",
  LIFETIME_TOO_LONG: "the task would live longer than its stored payload",
  WRONG_QUEUE: "a message names another queue",
  // Waiting for and acting on a task.
  TASK_NOT_FOUND: "no task with this id is in the ledger",
  TASK_DEAD: "the task is dead",
  TASK_CANCELLED: "the task was cancelled",
  TASK_EXPIRED: "the task was not started in time",
  RESULT_TIMEOUT: "the task did not end within the time given",
  CANCEL_REFUSED: "the task is already in a final state",
  REDRIVE_REFUSED: "only a dead task can be redriven",
  // Handlers: what a handler throws on purpose.
  TERMINAL: "the handler said that trying again is of no use",
  RETRY_AFTER: "the handler asked for a retry after a given time",
  SNOOZE: "the handler asked to run later without counting a failure",
  CANCELLED: "the handler cancelled the task",
  // Reasons of a dead task.
  RETRIES_EXHAUSTED: "the last permitted attempt failed",
  CRASHED: "the task took its process down too often",
  TIMEOUT: "an attempt ran longer than the task's timeout",
  LIFETIME_EXCEEDED: "the next run would start after the task's maximum lifetime",
  OUTPUT_INVALID: "the handler's result is not JSON or does not match the output schema",
  UNDECODABLE: "a message on the queue is not an envelope",
  UNKNOWN_TASK: "no worker knew the task for 24 hours",
  UNCLAIMABLE: "the task was sent again five times and no worker claimed it",
  RECEIVE_LIMIT: "the message was received too often without being claimed",
  PAYLOAD_MISSING: "the stored payload is gone",
  PAYLOAD_CORRUPT: "the stored payload is not what was written",
  // Inside a running attempt.
  LEASE_LOST: "another worker took the task over, or its lease ran out",
  SHUTDOWN: "the worker stopped before the attempt ended",
} as const;

/** A stable code that programs may compare; the message is for people and may change. */
export type ErrorCode = keyof typeof ERROR_CODES;

/** The parts of an error text: what went wrong, what came, what was expected, and the likely fix. */
export interface ErrorParts {
  what: string;
  received?: unknown;
  expected?: string | undefined;
  fix?: string | undefined;
  cause?: unknown;
}

const BRAND = Symbol.for("tasklane.error");
const SHOWN_MAX_CHARS = 120;

/**
 * The one error class of Tasklane: a stable `code`, and a text that says what went wrong and how to mend it.
 *
 * Compare with {@link TasklaneError.is} or by `code`: `instanceof` fails when two bundles each hold a copy of the package.
 */
export class TasklaneError extends Error {
  override readonly name: string = "TasklaneError";
  readonly code: ErrorCode;
  /** The likely fix, without the rest of the text. */
  readonly fix: string | undefined;

  constructor(code: ErrorCode, parts: ErrorParts) {
    super(writeMessage(code, parts), parts.cause === undefined ? undefined : { cause: parts.cause });
    this.code = code;
    this.fix = parts.fix;
    Object.defineProperty(this, BRAND, { value: true });
  }

  /** Tells whether a thrown value is an error of Tasklane, of this copy of the package or another, and of the given code if any. */
  static is(value: unknown, code?: ErrorCode): value is TasklaneError {
    return isBranded(value) && (code === undefined || value.code === code);
  }
}

function isBranded(value: unknown): value is TasklaneError {
  try {
    return (
      typeof value === "object" && value !== null && BRAND in value && typeof Reflect.get(value, "code") === "string"
    );
  } catch {
    // A proxy that throws is none of ours.
    return false;
  }
}

function writeMessage(code: ErrorCode, parts: ErrorParts): string {
  let text = `${code}: ${parts.what}${/[.!?…]$/.test(parts.what) ? "" : "."}`;
  if ("received" in parts) text += ` Received: ${show(parts.received)}.`;
  if (parts.expected !== undefined) text += ` Expected: ${parts.expected}.`;
  if (parts.fix !== undefined) text += ` Fix: ${parts.fix}.`;
  return text;
}

function show(value: unknown): string {
  const text = describe(value);
  return text.length > SHOWN_MAX_CHARS ? `${text.slice(0, SHOWN_MAX_CHARS)}… (${text.length} characters)` : text;
}

function describe(value: unknown): string {
  try {
    const isText = typeof value === "string" || typeof value === "object";
    return (isText ? JSON.stringify(value) : undefined) ?? String(value);
  } catch {
    return `a value of type ${typeof value} that cannot be written`;
  }
}

/** The input does not match the task's schema; `issues` lists each mismatch with its path. */
export class InputInvalidError extends TasklaneError {
  readonly issues: readonly SchemaIssue[];
  constructor(parts: ErrorParts, issues: readonly SchemaIssue[]) {
    super("INPUT_INVALID", parts);
    this.issues = issues;
  }
}

/** One mismatch that a schema reported. */
export interface SchemaIssue {
  message: string;
  /** Where in the value, as in `items.0.price`. Empty for the value as a whole. */
  path: string;
}

/** The lane's backlog is full; try again after `retryAfterMs`. Maps to HTTP 503. */
export class QueueFullError extends TasklaneError {
  readonly statusCode = 503;
  /** Milliseconds until the depth is looked at again. */
  readonly retryAfterMs: number;
  /** Whole seconds, ready for an HTTP `Retry-After` header. */
  readonly retryAfter: number;
  constructor(parts: ErrorParts, retryAfterMs: number) {
    super("QUEUE_FULL", parts);
    this.retryAfterMs = retryAfterMs;
    this.retryAfter = Math.max(1, Math.ceil(retryAfterMs / 1_000));
  }
}

/** The ledger did not answer: calling again with `{ id: error.taskId }` and the same input is safe. */
export class EnqueueUnknownError extends TasklaneError {
  readonly taskId: string;
  constructor(parts: ErrorParts, taskId: string) {
    super("ENQUEUE_UNKNOWN", parts);
    this.taskId = taskId;
  }
}

/** One entry of a batch that was refused, by its place in the batch. */
export interface EnqueueFailure {
  index: number;
  error: TasklaneError;
}

/** Some entries of a batch were refused; `accepted` holds the tasks of the others with their places. */
export class EnqueueManyError<Ref = unknown> extends TasklaneError {
  readonly accepted: readonly { index: number; task: Ref }[];
  readonly failed: readonly EnqueueFailure[];
  constructor(parts: ErrorParts, accepted: readonly { index: number; task: Ref }[], failed: readonly EnqueueFailure[]) {
    super("ENQUEUE_MANY_FAILED", parts);
    this.accepted = accepted;
    this.failed = failed;
  }
}
