import { expect } from "vitest";
import type { ErrorCode } from "../../../lib/task/errors.ts";
import { TasklaneError } from "../../../lib/task/errors.ts";

/** Runs what has to be refused and returns the error, which must be one of Tasklane's. */
export function refusalOf(run: () => unknown): TasklaneError {
  try {
    run();
  } catch (error) {
    if (TasklaneError.is(error)) return error;
    throw error;
  }
  throw new Error("nothing was refused");
}

/** The form that every refusal of a definition has: code, value received, what was expected, and the fix. */
export function fullText(code: ErrorCode): object {
  return {
    code,
    message: expect.stringMatching(/^[A-Z_]+: [^]+\. Received: [^]+\. Expected: [^]+\. Fix: [^]+\.$/),
    fix: expect.stringMatching(/./),
  };
}
