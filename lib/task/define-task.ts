import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { Backoff, BackoffOptions } from "./backoff.ts";
import { parseBackoff } from "./backoff.ts";
import type { TaskContext } from "./context.ts";
import type { RateLimit } from "./define-rate-limit.ts";
import { isRateLimit } from "./define-rate-limit.ts";
import type { Duration } from "./duration.ts";
import { formatDuration, parseDuration } from "./duration.ts";
import type { ErrorParts } from "./errors.ts";
import { TasklaneError } from "./errors.ts";
import type { Lane } from "./lane.ts";
import { isLane, LANES } from "./lane.ts";
import {
  DEFAULT_LANE,
  DEFAULT_MAX_CRASHES,
  DEFAULT_MAX_LIFETIME,
  DEFAULT_MAX_RETRIES,
  DEFAULT_RETENTION,
  DEFAULT_TIMEOUT,
} from "./limits.ts";
import { checkFunction, checkOptions } from "./known-options.ts";
import { checkName } from "./name.ts";
import type { AnySchema } from "./standard-schema.ts";

const COUNT_MAX = 1_000;

/** What a task is called, takes, gives and may cost: the contract between those who enqueue it and those who run it. */
export interface TaskOptions<I extends AnySchema, O extends AnySchema | undefined = undefined> {
  /** Identity across deploys: `[a-z0-9][a-z0-9._-]{0,63}`. Renaming a task makes another task of it. */
  name: string;
  /** Any Standard Schema. The queue carries the raw input; the handler gets what the schema makes of it. */
  input: I;
  /** Any Standard Schema for the handler's result. Default: none, and the result is not kept. */
  output?: O;
  /** Priority. Default `"normal"`; urgent lanes own more of each worker, and no lane starves. */
  lane?: Lane | undefined;
  /** Makes equal work one task: the same key within `retention` is a duplicate, with another input an `IDEMPOTENCY_CONFLICT`. */
  idempotencyKey?(input: StandardSchemaV1.InferInput<I>): string;
  /** Attempts after the first one failed. Default 5: about six minutes of trying. */
  maxRetries?: number | undefined;
  /** Waits between attempts. Default 1, 4, 16, 64, 256 s, each drawn evenly from 0 to that bound. */
  backoff?: BackoffOptions | undefined;
  /** Starts that took the process down, after which the task is dead. Default 3. */
  maxCrashes?: number | undefined;
  /** Bounds retries, snoozes and deferrals together, from when the task was first due. Default `"14d"`. */
  maxLifetime?: Duration | undefined;
  /** Aborts `ctx.signal` and fails the attempt, unless the handler still returns within the five seconds after. Default `"30s"`. */
  timeout?: Duration | undefined;
  /** Bounds how often handlers start, over all workers. Default: none. */
  rateLimit?: RateLimit | undefined;
  /** Splits the rate limit: each key has a bucket of its own. Default: one bucket for all. */
  rateLimitKey?(input: StandardSchemaV1.InferInput<I>): string;
  /**
   * How long the record is kept after the final state, and so how long an idempotency key stays taken. Default `"14d"`; in
   * effect at least 5 days, since a late message must find the record, and 19 for a dead task, whose copy may lie in a dead letter queue.
   */
  retention?: Duration | undefined;
}

/** What a handler may return, and so what `result()` resolves to before the output schema is applied. */
export type HandlerResult<O extends AnySchema | undefined> = O extends AnySchema
  ? StandardSchemaV1.InferInput<O>
  : unknown;

/** A task's function: returning means succeeded, throwing means not. */
export type HandlerFunction<I extends AnySchema, O extends AnySchema | undefined> = (
  input: StandardSchemaV1.InferOutput<I>,
  ctx: TaskContext,
) => HandlerResult<O> | Promise<HandlerResult<O>>;

/** A definition bound to the function that does its work. Only workers import it. */
export interface TaskHandler<T extends AnyTask = AnyTask> {
  readonly definition: T;
  run(input: unknown, ctx: TaskContext): unknown;
}

/** What `defineTask` returns: safe to import anywhere, since it holds neither handler nor AWS code. */
export interface TaskDefinition<
  I extends AnySchema = AnySchema,
  O extends AnySchema | undefined = AnySchema | undefined,
> {
  readonly name: string;
  readonly input: I;
  readonly output: O;
  readonly lane: Lane;
  readonly maxRetries: number;
  readonly maxCrashes: number;
  readonly backoff: Backoff;
  readonly timeoutMs: number;
  readonly maxLifetimeMs: number;
  readonly retentionMs: number;
  readonly rateLimit: RateLimit | undefined;
  idempotencyKey?(input: StandardSchemaV1.InferInput<I>): string;
  rateLimitKey?(input: StandardSchemaV1.InferInput<I>): string;
  /** Binds the function that does the work. */
  handle(run: HandlerFunction<I, O>): TaskHandler<TaskDefinition<I, O>>;
}

/** Any task definition. */
export type AnyTask = TaskDefinition<AnySchema, AnySchema | undefined>;

/** What a task takes: the input side of its schema. */
export type TaskInput<T extends AnyTask> = StandardSchemaV1.InferInput<T["input"]>;

/** What a task gives: the output side of its output schema, `undefined` without one, `unknown` where the task is not known. */
export type TaskOutput<T extends AnyTask> = T["output"] extends AnySchema
  ? StandardSchemaV1.InferOutput<T["output"]>
  : T["output"] extends undefined
    ? undefined
    : unknown;

const TASK_OPTIONS: readonly (keyof TaskOptions<AnySchema>)[] = [
  "name",
  "input",
  "output",
  "lane",
  "idempotencyKey",
  "maxRetries",
  "backoff",
  "maxCrashes",
  "maxLifetime",
  "timeout",
  "rateLimit",
  "rateLimitKey",
  "retention",
];

/**
 * Defines a task: the contract that producers and workers share.
 *
 * @throws TasklaneError `DEFINITION_INVALID` or `DURATION_INVALID`, at once, naming the value, what was expected and the fix
 */
export function defineTask<I extends AnySchema, O extends AnySchema | undefined = undefined>(
  options: TaskOptions<I, O>,
): TaskDefinition<I, O> {
  const what = checkName(options?.name, "task");
  checkOptions(options, TASK_OPTIONS, "DEFINITION_INVALID", what);
  checkSchema(options.input, `input of ${what}`);
  if (options.output !== undefined) checkSchema(options.output, `output of ${what}`);
  const lane = options.lane ?? DEFAULT_LANE;
  if (!isLane(lane))
    refuse({
      what: `The lane of ${what} does not exist`,
      received: lane,
      expected: LANES.map((name) => `"${name}"`).join(", "),
      fix: `leave it out for "${DEFAULT_LANE}"`,
    });
  checkRateLimit(options.rateLimit, what);
  for (const name of ["idempotencyKey", "rateLimitKey"] as const)
    if (options[name] !== undefined)
      checkFunction(options[name], "DEFINITION_INVALID", `${name} of ${what}`, "(input) => input.orderId");
  if (options.rateLimitKey !== undefined && options.rateLimit === undefined)
    refuse({
      what: `The rateLimitKey of ${what} splits no rate limit`,
      received: "rateLimitKey without rateLimit",
      expected: "both, or neither",
      fix: "add rateLimit: defineRateLimit({ … }), or take rateLimitKey out",
    });
  const definition: TaskDefinition<I, O> = {
    name: options.name,
    input: options.input,
    output: options.output as O,
    lane,
    maxRetries: checkCount(options.maxRetries ?? DEFAULT_MAX_RETRIES, 0, `maxRetries of ${what}`),
    maxCrashes: checkCount(options.maxCrashes ?? DEFAULT_MAX_CRASHES, 1, `maxCrashes of ${what}`),
    backoff: parseBackoff(options.backoff, what),
    timeoutMs: checkSpan(options.timeout ?? DEFAULT_TIMEOUT, 1, 11 * 3_600_000, `timeout of ${what}`),
    maxLifetimeMs: checkSpan(
      options.maxLifetime ?? DEFAULT_MAX_LIFETIME,
      1_000,
      366 * 86_400_000,
      `maxLifetime of ${what}`,
    ),
    retentionMs: checkSpan(options.retention ?? DEFAULT_RETENTION, 0, 366 * 86_400_000, `retention of ${what}`),
    rateLimit: options.rateLimit,
    handle: (run) => {
      checkFunction(run, "DEFINITION_INVALID", `handler of ${what}`, "async (input, ctx) => { … }");
      return { definition, run: (input, ctx) => run(input as StandardSchemaV1.InferOutput<I>, ctx) };
    },
  };
  if (options.idempotencyKey) definition.idempotencyKey = options.idempotencyKey;
  if (options.rateLimitKey) definition.rateLimitKey = options.rateLimitKey;
  return Object.freeze(definition);
}

function checkSchema(schema: AnySchema, what: string): void {
  if (typeof schema?.["~standard"]?.validate !== "function")
    refuse({
      what: `The ${what} is no schema`,
      received: schema,
      expected: "a Standard Schema, as zod, valibot and arktype make them",
      fix: "for example z.object({ orderId: z.string() })",
    });
}

function checkRateLimit(value: RateLimit | undefined, what: string): void {
  if (value !== undefined && !isRateLimit(value))
    refuse({
      what: `The rateLimit of ${what} is no rate limit`,
      received: value,
      expected: "what defineRateLimit returns",
      fix: 'write rateLimit: defineRateLimit({ name: "smtp", limit: 50 })',
    });
}

function checkCount(value: number, least: number, what: string): number {
  if (!Number.isInteger(value) || value < least || value > COUNT_MAX)
    refuse({
      what: `The ${what} is not a count`,
      received: value,
      expected: `a whole number from ${least} to ${COUNT_MAX}`,
      fix: "leave it out for the default",
    });
  return value;
}

function checkSpan(value: Duration, leastMs: number, mostMs: number, what: string): number {
  const ms = parseDuration(value, what);
  if (ms < leastMs || ms > mostMs)
    refuse({
      what: `The ${what} is out of range`,
      received: value,
      expected: `from ${formatDuration(leastMs)} to ${formatDuration(mostMs)}`,
      fix: "leave it out for the default",
    });
  return ms;
}

function refuse(parts: ErrorParts): never {
  throw new TasklaneError("DEFINITION_INVALID", parts);
}
