import { describe, expect, test } from "vitest";
import type { TaskState } from "../../../lib/task/states.ts";
import {
  canMove,
  drawStateDiagram,
  FINAL_STATES,
  isFinal,
  isTaskState,
  TRANSITIONS,
} from "../../../lib/task/states.ts";

const STATES: readonly TaskState[] = ["queued", "running", "succeeded", "dead", "cancelled", "expired"];

const LEGAL = new Set([
  "undefined→queued",
  "queued→running",
  "queued→dead",
  "queued→cancelled",
  "queued→expired",
  "running→running",
  "running→queued",
  "running→succeeded",
  "running→dead",
  "running→cancelled",
  "running→expired",
  "dead→queued",
]);

describe("the states of a task", () => {
  const pairs = [undefined, ...STATES].flatMap((from) => STATES.map((to) => ({ from, to })));

  test.each(pairs)("may go from $from to $to only if the design says so", ({ from, to }) => {
    expect(canMove(from, to)).toBe(LEGAL.has(`${from}→${to}`));
  });

  test("can all be reached from an enqueue", () => {
    const reached = new Set<TaskState | undefined>([undefined]);
    for (let round = 0; round < TRANSITIONS.length; round++)
      for (const move of TRANSITIONS) if (reached.has(move.from)) reached.add(move.to);
    expect([...reached].filter((state) => state !== undefined).toSorted()).toEqual(STATES.toSorted());
  });

  test("can all come to an end", () => {
    const ending = new Set<TaskState | undefined>(FINAL_STATES);
    for (let round = 0; round < TRANSITIONS.length; round++)
      for (const move of TRANSITIONS) if (ending.has(move.to)) ending.add(move.from);
    expect(STATES.filter((state) => !ending.has(state))).toEqual([]);
  });

  test("that are final have no way out but the redrive of a dead task", () => {
    const out = TRANSITIONS.filter((move) => move.from !== undefined && isFinal(move.from));
    expect(out.map(({ name, from, to }) => ({ name, from, to }))).toEqual([
      { name: "redrive", from: "dead", to: "queued" },
    ]);
  });

  test("are final exactly when the task has ended", () => {
    expect(STATES.filter(isFinal)).toEqual(["succeeded", "dead", "cancelled", "expired"]);
    expect([...FINAL_STATES]).toEqual(STATES.filter(isFinal));
  });

  test("reach success only from running: nothing succeeds that did not run", () => {
    expect(TRANSITIONS.filter((move) => move.to === "succeeded").map((move) => move.from)).toEqual(["running"]);
  });

  test("are told from other words", () => {
    expect(STATES.every(isTaskState)).toBe(true);
    expect(["scheduled", "", "QUEUED", "toString", undefined, null, 1, {}].filter(isTaskState)).toEqual([]);
  });

  test("have one row for each move and name", () => {
    const rows = TRANSITIONS.map((move) => `${move.from} ${move.name} ${move.to}`);
    expect(new Set(rows).size).toBe(rows.length);
  });

  test("are drawn with one arrow for each move and one end for each state that stays", () => {
    const lines = drawStateDiagram().split("\n");
    expect(lines[0]).toBe("stateDiagram-v2");
    expect(lines).toContain("  [*] --> queued: enqueue (the record is written)");
    expect(lines.filter((line) => line.includes("--> [*]"))).toEqual([
      "  succeeded --> [*]",
      "  cancelled --> [*]",
      "  expired --> [*]",
    ]);
    expect(lines).toHaveLength(1 + TRANSITIONS.length + 3);
    // A semicolon or a second colon ends a label in Mermaid.
    expect(TRANSITIONS.filter((move) => /[;\n]/.test(move.when)).map((move) => move.name)).toEqual([]);
  });
});
