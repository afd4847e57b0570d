import { TasklaneError } from "./errors.ts";

/** A `RUNTIME_TOO_OLD`: the Node that runs this lacks what somebody needs. */
export function runtimeTooOld(whose: string, cause?: unknown): TasklaneError {
  return new TasklaneError("RUNTIME_TOO_OLD", {
    what: `This version of Node lacks what ${whose} needs`,
    received: process.version,
    expected: "Node 22.15 or later",
    fix: "install Node 24, for this project alone by npm install --save-dev node@24",
    cause,
  });
}
