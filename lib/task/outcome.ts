import type { ErrorCode } from "./errors.ts";
import { TasklaneError } from "./errors.ts";
import { ERROR_MESSAGE_MAX_CHARS, ERROR_STACK_MAX_CHARS } from "./limits.ts";

/** An error as it is kept: never the payload, and never more than so many characters. */
export interface Failure {
  readonly code: ErrorCode | "ERROR";
  readonly message: string;
  readonly stack?: string | undefined;
}

/** What an attempt came to. */
export type Outcome =
  | { readonly kind: "succeeded"; readonly output: unknown }
  /** Failed; `delayMs` overrides the backoff. */
  | { readonly kind: "retry"; readonly failure: Failure; readonly delayMs?: number | undefined }
  | { readonly kind: "snooze"; readonly delayMs: number; readonly failure: Failure }
  | { readonly kind: "cancelled"; readonly failure: Failure }
  | { readonly kind: "dead"; readonly failure: Failure }
  /** The worker stopped first: counted nowhere. */
  | { readonly kind: "interrupted"; readonly failure: Failure }
  /** The handler was never started: the claim is given back. */
  | { readonly kind: "deferred"; readonly failure: Failure; readonly delayMs: number }
  /** Claimed after its time: ends without a start. */
  | { readonly kind: "expired"; readonly failure: Failure };

/** The outcome of a handler that threw. An unknown error means retry; only a named one stops. */
export function outcomeOfError(error: unknown): Outcome {
  const failure = describeFailure(error);
  if (TasklaneError.is(error, "TERMINAL")) return { kind: "dead", failure };
  if (TasklaneError.is(error, "CANCELLED")) return { kind: "cancelled", failure };
  if (TasklaneError.is(error, "SNOOZE")) return { kind: "snooze", failure, delayMs: delayOf(error) };
  if (TasklaneError.is(error, "RETRY_AFTER")) return { kind: "retry", failure, delayMs: delayOf(error) };
  return { kind: "retry", failure };
}

function delayOf(error: TasklaneError): number {
  // Read by name, not by class: the error may come from another copy of the package.
  const delay: unknown = Reflect.get(error, "delayMs");
  return typeof delay === "number" && Number.isFinite(delay) && delay >= 0 ? delay : 0;
}

/** Shortens whatever was thrown to what the history keeps. Never throws, though a getter of the error may. */
export function describeFailure(error: unknown): Failure {
  try {
    return readFailure(error);
  } catch {
    return { code: "ERROR", message: "thrown value that cannot be read" };
  }
}

function readFailure(error: unknown): Failure {
  const code = TasklaneError.is(error) ? error.code : "ERROR";
  if (typeof error === "object" && error !== null && "message" in error) {
    const name = "name" in error && typeof error.name === "string" && code === "ERROR" ? `${error.name}: ` : "";
    const text = String(error.message);
    // The code is kept beside the message.
    const bare = code !== "ERROR" && text.startsWith(`${code}: `) ? text.slice(code.length + 2) : text;
    const stack = "stack" in error && typeof error.stack === "string" ? error.stack : undefined;
    return {
      code,
      message: shorten(name + bare, ERROR_MESSAGE_MAX_CHARS),
      stack: stack === undefined ? undefined : shorten(stack, ERROR_STACK_MAX_CHARS),
    };
  }
  return { code, message: shorten(describeThrown(error), ERROR_MESSAGE_MAX_CHARS) };
}

function describeThrown(value: unknown): string {
  try {
    return `thrown value: ${typeof value === "object" ? JSON.stringify(value) : String(value)}`;
  } catch {
    return "thrown value that cannot be written";
  }
}

/** Cuts a text, never in the middle of a surrogate pair. */
export function shorten(value: string, maxChars: number): string {
  if (value.length <= maxChars) return value;
  const cut = value.slice(0, maxChars - 1);
  return `${/[\ud800-\udbff]$/.test(cut) ? cut.slice(0, -1) : cut}…`;
}
