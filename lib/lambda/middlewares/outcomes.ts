import { TasklaneError } from "../../task/errors.ts";
import type { RecordOutcome, SqsRecord } from "./batch.ts";

/**
 * Reads what a handler returned. It may be nothing, which says that all went well; a report with `batchItemFailures`; or the
 * `PromiseSettledResult` of each record in the order of the event, as `Promise.allSettled` gives them.
 *
 * What cannot be understood fails every record, as Lambda does: to take it for success would delete messages.
 *
 * @param known ids that the event had before middlewares took records away
 */
export function readOutcomes(
  response: unknown,
  given: readonly SqsRecord[],
  known: ReadonlySet<string>,
): Map<string, RecordOutcome> {
  if (Array.isArray(response)) return readSettled(response, given);
  const reported: unknown =
    typeof response === "object" && response !== null ? Reflect.get(response, "batchItemFailures") : undefined;
  // Lambda takes an answer without a list of failures for success.
  if (reported === undefined || reported === null) return readFailures([], given, known);
  return Array.isArray(reported) ? readFailures(reported, given, known) : failAll(given, misread(reported));
}

/** Fails every record for the same reason. */
export function failAll(given: readonly SqsRecord[], reason: unknown): Map<string, RecordOutcome> {
  return new Map(given.map(({ messageId }) => [messageId, { ok: false, reason }]));
}

/**
 * Whether middy gave up waiting for the handler just before the invocation's end: it may still run, so what it holds must not be
 * given to others.
 */
export function isAbandoned(reason: unknown): boolean {
  if (!(reason instanceof Error) || reason.name !== "TimeoutError") return false;
  const { cause } = reason;
  return typeof cause === "object" && cause !== null && Reflect.get(cause, "package") === "@middy/core";
}

function readSettled(results: readonly unknown[], given: readonly SqsRecord[]): Map<string, RecordOutcome> {
  const outcomes = new Map<string, RecordOutcome>();
  if (results.length !== given.length) return failAll(given, misread(`${results.length} results`));
  for (const [place, { messageId }] of given.entries()) {
    const outcome = readResult(results[place]);
    // The same message may come twice in one event: it has succeeded only if both have.
    if (outcomes.get(messageId)?.ok !== false) outcomes.set(messageId, outcome);
  }
  return outcomes;
}

function readResult(settled: unknown): RecordOutcome {
  const read = (name: string): unknown =>
    typeof settled === "object" && settled !== null ? Reflect.get(settled, name) : undefined;
  if (read("status") === "fulfilled") return { ok: true, result: read("value") };
  return { ok: false, reason: read("status") === "rejected" ? read("reason") : misread(settled) };
}

function readFailures(
  reported: readonly unknown[],
  given: readonly SqsRecord[],
  known: ReadonlySet<string>,
): Map<string, RecordOutcome> {
  const failed = new Set<unknown>();
  for (const entry of reported) {
    const id: unknown = typeof entry === "object" && entry !== null ? Reflect.get(entry, "itemIdentifier") : undefined;
    if (typeof id !== "string" || !known.has(id)) return failAll(given, misread(entry));
    failed.add(id);
  }
  const outcomes = given.map(({ messageId }): [string, RecordOutcome] => [
    messageId,
    failed.has(messageId) ? { ok: false, reason: undefined } : { ok: true, result: undefined },
  ]);
  return new Map(outcomes);
}

function misread(received: unknown): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: "The handler's answer does not say which records failed, so all of them count as failed",
    received,
    expected:
      "nothing, { batchItemFailures: [{ itemIdentifier: record.messageId }] }, or one settled promise for each record",
    fix: "return Promise.allSettled(event.Records.map(…)), with partialBatchResponse() in the chain",
  });
}
