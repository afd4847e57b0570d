import { appendFileSync, closeSync, openSync, readSync } from "node:fs";
import type { TasklaneEvent } from "../../lib/index.ts";

/** What a handler leaves behind in the effects file, as another system would see it. */
export interface Effect {
  readonly kind: "start" | "step" | "aborted" | "end";
  readonly taskId: string;
  readonly attempt: number;
  readonly fence: number;
  readonly pid: number;
  /** Code of the abort's reason. */
  readonly code?: string | undefined;
}

/** What a worker process reports of itself: the library's events, and what only the process can tell. */
export type Report = { readonly pid: number } & (
  | TasklaneEvent
  | { readonly type: "run-resolved"; readonly reason: string; readonly interrupted: number }
  /** The event loop stood still for so many milliseconds. */
  | { readonly type: "stalled"; readonly ms: number }
  /** The process kills itself at this remote call. */
  | { readonly type: "suicide"; readonly call: number; readonly name: string; readonly when: string }
);

/** Adds a line with one write to a file opened for appending, so that lines of several processes do not mix. */
export function append(path: string, line: Effect | Report): void {
  appendFileSync(path, `${JSON.stringify(line)}\n`);
}

/** Reads a growing file of JSON lines; each call looks only at what is new. */
export class Journal<Line> {
  readonly #file: number;
  readonly #lines: Line[] = [];
  #offset = 0;
  #rest = "";

  constructor(path: string) {
    this.#file = openSync(path, "a+");
  }

  /** All lines so far. */
  lines(): readonly Line[] {
    const chunk = Buffer.alloc(65_536);
    for (;;) {
      const bytes = readSync(this.#file, chunk, 0, chunk.length, this.#offset);
      if (bytes === 0) return this.#lines;
      this.#offset += bytes;
      const parts = (this.#rest + chunk.toString("latin1", 0, bytes)).split("\n");
      this.#rest = parts.pop() ?? "";
      for (const part of parts) this.#lines.push(JSON.parse(Buffer.from(part, "latin1").toString("utf8")));
    }
  }

  close(): void {
    closeSync(this.#file);
  }
}
