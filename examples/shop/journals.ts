import { appendFileSync, closeSync, openSync, readSync } from "node:fs";
import type { TaskContext, TasklaneEvent } from "../../lib/index.ts";
import { outPath } from "./artifacts.ts";

/** A handler started. Written as the handler's first act, so that what it leaves undone is seen as well. */
export interface StartEntry {
  readonly task: string;
  readonly taskId: string;
  readonly attempt: number;
  readonly pid: number;
  readonly at: number;
}

/** Somebody enqueued a task, or was told that it was there already. */
export interface EnqueueEntry {
  readonly task: string;
  readonly taskId: string;
  readonly duplicate: boolean;
}

/** A worker told what it did. */
export type EventEntry = TasklaneEvent & { readonly pid: number };

/** The journals: one JSON object a line, only ever appended to, by several processes. */
interface Journals {
  starts: StartEntry;
  enqueues: EnqueueEntry;
  events: EventEntry;
}

/** Appends a line to a journal; it is one small write, so the lines of several processes never mix. */
export function journal<Name extends keyof Journals>(name: Name, entry: Journals[Name]): void {
  appendFileSync(outPath(`${name}.jsonl`), `${JSON.stringify(entry)}\n`);
}

/** Notes that a handler started. */
export function journalStart({ task, taskId, attempt }: TaskContext): void {
  journal("starts", { task, taskId, attempt, pid: process.pid, at: Date.now() });
}

/** Notes what came of an enqueue. */
export function journalEnqueue(task: { name: string }, enqueued: { id: string; duplicate: boolean }): void {
  journal("enqueues", { task: task.name, taskId: enqueued.id, duplicate: enqueued.duplicate });
}

/** Reads a journal piece by piece: each call of the function it returns gives the lines that are new since the last one. */
export function followJournal<Name extends keyof Journals>(name: Name): () => Journals[Name][] {
  const buffer = Buffer.alloc(1 << 20);
  let position = 0;
  return () => {
    const entries: Journals[Name][] = [];
    const file = openSync(outPath(`${name}.jsonl`), "a+");
    try {
      for (;;) {
        const bytes = buffer.subarray(0, readSync(file, buffer, 0, buffer.length, position));
        const end = bytes.lastIndexOf("\n") + 1;
        if (end === 0) return entries;
        position += end;
        for (const line of bytes.toString("utf8", 0, end).trimEnd().split("\n")) entries.push(JSON.parse(line));
      }
    } finally {
      closeSync(file);
    }
  };
}

/** Reads a whole journal. */
export function readJournal<Name extends keyof Journals>(name: Name): Journals[Name][] {
  return followJournal(name)();
}
