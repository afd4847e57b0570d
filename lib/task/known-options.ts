import type { ErrorCode } from "./errors.ts";
import { TasklaneError } from "./errors.ts";

/**
 * Refuses options that nobody reads. Types say so where they are checked; where Node strips them, a typo would pass in silence.
 *
 * @throws TasklaneError of the given code
 */
export function checkOptions(options: object, known: readonly string[], code: ErrorCode, what: string): void {
  if (typeof options !== "object" || options === null || Array.isArray(options))
    throw new TasklaneError(code, {
      what: `The options of ${what} are no object`,
      received: options,
      expected: `an object with any of ${known.join(", ")}`,
      fix: "pass them by name",
    });
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TasklaneError(code, {
    what: `There is no option "${unknown}" for ${what}`,
    received: unknown,
    expected: known.join(", "),
    fix: "correct its name, or leave it out",
  });
}

/**
 * Refuses what is no function.
 *
 * @param example how one is written
 * @throws TasklaneError of the given code
 */
export function checkFunction(value: unknown, code: ErrorCode, what: string, example: string): void {
  if (typeof value === "function") return;
  throw new TasklaneError(code, {
    what: `The ${what} is no function`,
    received: value,
    expected: "a function",
    fix: `write ${example}, or the like`,
  });
}
