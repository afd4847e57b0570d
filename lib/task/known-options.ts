import type { ErrorCode } from "./errors.ts";
import { TasklaneError } from "./errors.ts";

/**
 * Refuses options that nobody reads. Types say so where they are checked; where Node strips them, a typo would pass in silence.
 *
 * @throws TasklaneError of the given code
 */
export function checkOptions(options: object, known: readonly string[], code: ErrorCode, what: string): void {
  const unknown = Object.keys(options).find((name) => !known.includes(name));
  if (unknown === undefined) return;
  throw new TasklaneError(code, {
    what: `There is no option "${unknown}" for ${what}`,
    received: unknown,
    expected: known.join(", "),
    fix: "correct its name, or leave it out",
  });
}
