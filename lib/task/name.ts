import { TasklaneError } from "./errors.ts";

/** What names of tasks, rate limits and queues look like: safe in keys, URLs, metrics and files. */
export const NAME_PATTERN: RegExp = /^[a-z0-9][a-z0-9._-]{0,63}$/;

/**
 * Checks a name and returns how errors call its owner, as in `task "send-receipt"`.
 *
 * @throws TasklaneError `DEFINITION_INVALID`
 */
export function checkName(name: string, kind: string): string {
  if (typeof name === "string" && NAME_PATTERN.test(name)) return `${kind} "${name}"`;
  throw new TasklaneError("DEFINITION_INVALID", {
    what: `The name of a ${kind} has characters that cannot be kept across queues, metrics and files`,
    received: name,
    expected: "1 to 64 of a-z, 0-9, dot, dash and underscore, the first a letter or digit",
    fix: typeof name === "string" && name !== "" ? `for example "${suggest(name)}"` : "give it a name",
  });
}

function suggest(name: string): string {
  const plain = name
    .replace(/([a-z0-9])([A-Z])/g, "$1-$2")
    .toLowerCase()
    .replace(/[^a-z0-9._-]+/g, "-")
    .replace(/^[^a-z0-9]+/, "")
    .slice(0, 64)
    .replace(/[^a-z0-9]+$/, "");
  return plain === "" ? "my-task" : plain;
}
