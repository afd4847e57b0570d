import { TasklaneError } from "../../task/errors.ts";
import type { RecordOutcome, SqsBatch, SqsEvent, SqsRecord } from "./batch.ts";
import { holdFollowers, openBatch, reportOf } from "./batch.ts";
import { failAll, readOutcomes } from "./outcomes.ts";

/** The part of middy's request that the middlewares read and write. */
export interface SqsRequest {
  event: SqsEvent;
  response: unknown;
  error: unknown;
}

/** A middleware of middy 7 for functions behind an SQS queue. */
export interface SqsMiddleware {
  readonly name: string;
  readonly before: (request: SqsRequest) => Promise<void>;
  readonly after: (request: SqsRequest) => Promise<void>;
  readonly onError: (request: SqsRequest) => Promise<void>;
}

/** The middlewares from the outermost to the innermost: the order in which they have to be used. */
export const MIDDLEWARES = ["visibilityHeartbeat", "rateLimit", "idempotency", "partialBatchResponse"] as const;

/** Ends what a middleware began, once it is known what became of each record that the handler was given. */
export type Settle = (outcomes: ReadonlyMap<string, RecordOutcome>) => void | Promise<void>;

/** What makes one middleware differ from another. */
export interface MiddlewareParts {
  readonly name: (typeof MIDDLEWARES)[number];
  /** Looks at the batch before the handler, and answers how to end what it began. Throws for mistakes in code only. */
  readonly before?: ((batch: SqsBatch, remainingMs: number | undefined) => Promise<Settle | void>) | undefined;
  /** Called with the outcomes alone, also where `before` was never reached. */
  readonly settle?: ((batch: SqsBatch, outcomes: ReadonlyMap<string, RecordOutcome>) => void) | undefined;
  /** Turns an error of the handler into a report, in place of letting it fail the invocation. */
  readonly catches?: boolean | undefined;
}

/** What the middlewares of one invocation know of each other. */
interface Chain {
  readonly batch: SqsBatch;
  /** The place in the order of the last one that began. */
  rank: number;
  /** A mistake in code fails the invocation, whoever catches the errors of handlers. */
  hasMistake: boolean;
  /** Tells each middleware that began that the order is wrong, so that the next call fails before anything is done. */
  readonly members: ((mistake: TasklaneError) => void)[];
}

const chains = new WeakMap<SqsRequest, Chain>();

/** Makes a middleware of its parts: keeps the books, checks the order, and answers with the report. */
export function sqsMiddleware(parts: MiddlewareParts): SqsMiddleware {
  const begun = new WeakMap<SqsBatch, Settle>();
  let misplaced: TasklaneError | undefined;

  const before = async (request: SqsRequest): Promise<void> => {
    const chain = chainOf(request);
    const { batch } = chain;
    try {
      if (misplaced !== undefined) throw misplaced;
      enter(chain, parts.name, (mistake) => {
        misplaced = mistake;
      });
      const end = await parts.before?.(batch, remainingMs(request));
      if (end !== undefined) begun.set(batch, end);
      for (const check of batch.checks) check();
      holdFollowers(batch);
      if (batch.given.length < batch.records.length) {
        const given = new Set(batch.given.map(({ messageId }) => messageId));
        // Filtered, so that what somebody else made of the records, such as parsed bodies, stays.
        const Records = request.event.Records.filter(({ messageId }) => given.has(messageId));
        request.event = { ...request.event, Records };
      }
    } catch (error) {
      chain.hasMistake = true;
      throw error;
    }
  };

  const settle = async (batch: SqsBatch, outcomes: ReadonlyMap<string, RecordOutcome>): Promise<void> => {
    batch.outcomes = outcomes;
    await begun.get(batch)?.(outcomes);
    begun.delete(batch);
    parts.settle?.(batch, outcomes);
  };

  const after = async (request: SqsRequest): Promise<void> => {
    const { batch } = chainOf(request);
    const known = new Set(batch.records.map(({ messageId }) => messageId));
    await settle(batch, batch.outcomes ?? readOutcomes(request.response, batch.given, known));
    // An event of another kind is none of ours, nor is the answer to it.
    if (known.size > 0) request.response = reportOf(batch);
  };

  const onError = async (request: SqsRequest): Promise<void> => {
    // Somebody further in has turned the error into an answer.
    if (request.response !== undefined) return after(request);
    const { batch, hasMistake } = chainOf(request);
    await settle(batch, failAll(batch.given, request.error));
    if (parts.catches === true && !hasMistake && batch.records.length > 0) request.response = reportOf(batch);
  };

  return { name: parts.name, before, after, onError };
}

function chainOf(request: SqsRequest): Chain {
  let chain = chains.get(request);
  if (chain === undefined) {
    chain = { batch: openBatch(recordsOf(request.event)), rank: -1, hasMistake: false, members: [] };
    chains.set(request, chain);
  }
  return chain;
}

/** The messages of an event of SQS. Those of S3, SNS and others have records too, which are none of ours. */
function recordsOf(event: SqsEvent | undefined): readonly SqsRecord[] {
  const records = Array.isArray(event?.Records) ? event.Records : [];
  const isOurs = records.every(
    (record) => typeof record?.messageId === "string" && typeof record.eventSourceARN === "string",
  );
  return isOurs ? records : [];
}

/** @throws TasklaneError `OPTION_INVALID` if the middleware belongs further out than one that began before it */
function enter(chain: Chain, name: MiddlewareParts["name"], tell: (mistake: TasklaneError) => void): void {
  chain.members.push(tell);
  const rank = MIDDLEWARES.indexOf(name);
  if (rank >= chain.rank) {
    chain.rank = rank;
    return;
  }
  const mistake = new TasklaneError("OPTION_INVALID", {
    what: `The middleware ${name} comes after ${MIDDLEWARES[chain.rank]}`,
    expected: `this order, of those that are used: ${MIDDLEWARES.join(", ")}`,
    fix: `use them in that order, as in middy(handler).use([${MIDDLEWARES.map((one) => `${one}(…)`).join(", ")}])`,
  });
  for (const member of chain.members) member(mistake);
  throw mistake;
}

/** How long the invocation may still run; `undefined` where the host does not say. Zero and below mean that it is over. */
function remainingMs(request: SqsRequest): number | undefined {
  const context: unknown = Reflect.get(request, "context");
  const ask: unknown =
    typeof context === "object" && context !== null ? Reflect.get(context, "getRemainingTimeInMillis") : undefined;
  const remaining: unknown = typeof ask === "function" ? Reflect.apply(ask, context, []) : undefined;
  return typeof remaining === "number" && Number.isFinite(remaining) ? remaining : undefined;
}
