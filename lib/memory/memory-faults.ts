import { TasklaneError } from "../task/errors.ts";

/** The verbs of the three ports, as faults name them. */
export type MemoryVerb =
  | "send"
  | "receive"
  | "acknowledge"
  | "hide"
  | "depth"
  | "recordMany"
  | "readMany"
  | "claimMany"
  | "settleMany"
  | "renewMany"
  | "changeMany"
  | "putSide"
  | "readSides"
  | "query"
  | "reserve"
  | "readDocument"
  | "writeDocument"
  | "addCounters"
  | "readCounters"
  | "put"
  | "get";

/** One entry of a call, as a remote store would see it. */
export interface MemoryCall {
  readonly verb: MemoryVerb;
  /** The task id, the bucket, the document, the object key, or the queue: `normal`, or `normal-dlq`. */
  readonly target: string;
  /** The body of a message that is sent, or the receipt. */
  readonly entry?: string | undefined;
}

/**
 * What goes wrong: `refused` = nothing was done; `unanswered` = it was done, and the answer is lost. Both are told as
 * `BACKEND_UNAVAILABLE`. An error of one's own means refused.
 */
export type Fault = "refused" | "unanswered" | TasklaneError;

/** Decides what goes wrong, entry by entry; a promise holds the entry back until it is settled. */
export type Faults = (call: MemoryCall) => Fault | undefined | Promise<Fault | undefined>;

/** A fault that strikes. */
export interface Strike {
  /** The effect takes place all the same. */
  readonly done: boolean;
  readonly error: TasklaneError;
}

/** Asks whether an entry is struck. */
export async function strike(faults: Faults | undefined, call: MemoryCall): Promise<Strike | undefined> {
  const fault = await faults?.(call);
  if (fault === undefined) return undefined;
  if (typeof fault !== "string") return { done: false, error: fault };
  const error = new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `A fault that the test asked for: ${call.verb} of ${call.target} was ${fault}`,
  });
  return { done: fault === "unanswered", error };
}

/** Does something under a fault, for verbs that throw. */
export async function withFault<Result>(
  faults: Faults | undefined,
  call: MemoryCall,
  effect: () => Result | Promise<Result>,
): Promise<Result> {
  const struck = await strike(faults, call);
  if (struck?.done === false) throw struck.error;
  const result = await effect();
  if (struck !== undefined) throw struck.error;
  return result;
}
