import type { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { Backend } from "../../lib/ports/backend.ts";

/** A backend that is open, and its time. */
export interface ContractStack {
  readonly backend: Backend;
  /** Only a manual clock can show what takes hours. */
  readonly clock: "manual" | "real";
  now(): number;
  /** Moves the clock, or waits until it has moved by itself. */
  advance(ms: number): Promise<void>;
  close(): Promise<void>;
}

const REAL_PAUSE_MS = 20;

/** Puts a stack together: on a manual clock if one is given, else on the real one. */
export function contractStack(
  backend: Backend,
  { clock, close }: { clock?: ManualClock; close?: () => Promise<void> },
): ContractStack {
  const now = clock === undefined ? () => Date.now() : () => clock.now();
  return {
    backend,
    clock: clock === undefined ? "real" : "manual",
    now,
    advance: (ms) => (clock === undefined ? passRealTime(now() + ms) : moveClock(clock, ms)),
    async close() {
      backend.close();
      await close?.();
    },
  };
}

async function passRealTime(until: number): Promise<void> {
  while (Date.now() < until) await new Promise((resolve) => setTimeout(resolve, REAL_PAUSE_MS));
}

/** Moves a manual clock from timer to timer, and lets what each of them resolves run before the next. */
export async function moveClock(clock: ManualClock, ms: number): Promise<void> {
  const end = clock.now() + ms;
  for (;;) {
    await settled();
    const next = clock.nextTimerAt();
    if (next === undefined || next > end) break;
    clock.advanceTo(next);
  }
  clock.advanceTo(end);
  await settled();
}

/** Resolves after all that can run without time passing has run. */
function settled(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve));
}

/** Asks again, as time passes, until an answer is right, and gives the last answer if none was within the bound. */
export async function eventually<Answer>(
  stack: ContractStack,
  ask: () => Promise<Answer>,
  isRight: (answer: Answer) => boolean,
  { withinMs = 10_000, everyMs = 100 }: { withinMs?: number; everyMs?: number } = {},
): Promise<Answer> {
  const end = stack.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (isRight(answer) || stack.now() >= end) return answer;
    await stack.advance(everyMs);
  }
}
