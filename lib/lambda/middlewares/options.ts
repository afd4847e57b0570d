import { TasklaneError } from "../../task/errors.ts";
import { checkFunction, checkOptions } from "../../task/known-options.ts";
import type { MiddlewareOptions } from "./batch.ts";
import { COMMON_OPTIONS } from "./batch.ts";

/**
 * Looks at a middleware's options where it is made: found at the first message only, a mistake would send each of them to the dead letter
 * queue.
 *
 * @param own the names of the options that only this middleware has
 * @throws TasklaneError `OPTION_INVALID`
 */
export function checkMiddlewareOptions(name: string, options: MiddlewareOptions, own: readonly string[] = []): void {
  checkOptions(options, [...COMMON_OPTIONS, ...own], "OPTION_INVALID", name);
  checkOptional(options.onFailure, `onFailure of ${name}`, "(record, reason) => …");
}

/** Looks at a function that may be left out. @throws TasklaneError `OPTION_INVALID` */
export function checkOptional(value: unknown, what: string, example: string): void {
  if (value !== undefined) checkFunction(value, "OPTION_INVALID", what, example);
}

/** Looks at a text that may not be left out, or only as a whole. @throws TasklaneError `OPTION_INVALID` */
export function checkText(value: unknown, what: string, fix: string): void {
  if (typeof value === "string" && value !== "") return;
  throw new TasklaneError("OPTION_INVALID", {
    what: `The ${what} is missing`,
    received: value,
    expected: "a text",
    fix,
  });
}

/** Looks at the name of a table. @throws TasklaneError `OPTION_INVALID` */
export function checkTable(value: unknown, name: string): void {
  checkText(
    value,
    `table of ${name}`,
    "pass { table }; if it comes from a variable of the environment, see that it is set",
  );
}

/** Looks at the URL of a queue, where one is given. @throws TasklaneError `OPTION_INVALID` */
export function checkQueueUrl(value: unknown, name: string): void {
  if (value !== undefined) checkText(value, `queueUrl of ${name}`, "leave it out for the queue that the event names");
}
