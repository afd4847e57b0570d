/** Where a task is in its life. `scheduled` is no state: it is `queued` with a `notBefore` still to come. */
export type TaskState = "queued" | "running" | "succeeded" | "dead" | "cancelled" | "expired";

/** What moves a task from one state to the next. */
export type TransitionName =
  | "enqueue"
  | "claim"
  | "takeover"
  | "succeed"
  | "retry"
  | "snooze"
  | "defer"
  | "interrupt"
  | "kill"
  | "cancel"
  | "expire"
  | "redrive";

/** One legal move; `from` is absent for the first one. */
export interface Transition {
  readonly name: TransitionName;
  readonly from: TaskState | undefined;
  readonly to: TaskState;
  readonly when: string;
}

/** Every legal move of a task. The diagram in the docs is made from this table, and nothing else changes a state. */
export const TRANSITIONS: readonly Transition[] = [
  { name: "enqueue", from: undefined, to: "queued", when: "the record is written" },
  { name: "claim", from: "queued", to: "running", when: "its time has come and a worker takes the lease" },
  { name: "takeover", from: "running", to: "running", when: "the lease ran out: a crash is counted" },
  { name: "succeed", from: "running", to: "succeeded", when: "the handler returned" },
  { name: "retry", from: "running", to: "queued", when: "the handler threw and retries are left" },
  { name: "snooze", from: "running", to: "queued", when: "the handler asked to run later" },
  { name: "defer", from: "running", to: "queued", when: "the worker could not start the handler" },
  { name: "interrupt", from: "running", to: "queued", when: "the worker shut down" },
  { name: "kill", from: "running", to: "dead", when: "no retry is left, a terminal error, or too many crashes" },
  { name: "kill", from: "queued", to: "dead", when: "it can never be started" },
  { name: "cancel", from: "queued", to: "cancelled", when: "somebody cancelled it" },
  { name: "cancel", from: "running", to: "cancelled", when: "the handler honoured its signal, or threw CancelError" },
  { name: "expire", from: "queued", to: "expired", when: "it was not started in time" },
  { name: "expire", from: "running", to: "expired", when: "it was claimed after its time, and never started" },
  { name: "redrive", from: "dead", to: "queued", when: "an operator gives it another epoch" },
];

/** All states, in the order in which a task can come to them. */
export const TASK_STATES: readonly TaskState[] = ["queued", "running", "succeeded", "dead", "cancelled", "expired"];

/** The states that end an epoch. */
export const FINAL_STATES: readonly TaskState[] = ["succeeded", "dead", "cancelled", "expired"];

/** Tells whether a value names a state. */
export function isTaskState(value: unknown): value is TaskState {
  return TASK_STATES.some((state) => state === value);
}

/** Tells whether a task in this state has ended. */
export function isFinal(state: TaskState): boolean {
  return FINAL_STATES.includes(state);
}

/** Tells whether the table allows a move. */
export function canMove(from: TaskState | undefined, to: TaskState): boolean {
  return TRANSITIONS.some((move) => move.from === from && move.to === to);
}

/** Draws the table as a Mermaid state diagram, for the docs. */
export function drawStateDiagram(): string {
  const lines = TRANSITIONS.map((move) => `  ${move.from ?? "[*]"} --> ${move.to}: ${move.name} (${move.when})`);
  const ends = FINAL_STATES.filter((state) => state !== "dead").map((state) => `  ${state} --> [*]`);
  return ["stateDiagram-v2", ...lines, ...ends].join("\n");
}
