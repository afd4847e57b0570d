import type { Backend } from "../ports/backend.ts";
import type { Clock, Random } from "../ports/clock.ts";
import type { EventListener, TasklaneEvent, TaskMark } from "../task/events.ts";
import type { TaskRecord } from "../task/record.ts";

/** What every step of a task's path works with. */
export interface Services {
  readonly backend: Backend;
  readonly clock: Clock;
  readonly random: Random;
  emit(event: Unstamped<TasklaneEvent>): void;
}

type Unstamped<Event> = Event extends unknown ? Omit<Event, "at"> : never;

/** Puts services together; a listener that throws is no reason to lose a task. */
export function makeServices(parts: {
  backend: Backend;
  clock: Clock;
  random: Random;
  onEvent?: EventListener | undefined;
}): Services {
  const { backend, clock, random, onEvent } = parts;
  return {
    backend,
    clock,
    random,
    emit(event) {
      try {
        const answer: unknown = onEvent?.({ at: clock.now(), ...event });
        // An async listener may reject; that is its own affair too.
        if (answer instanceof Promise) answer.catch(() => undefined);
      } catch {
        // The listener's own affair.
      }
    },
  };
}

/** How events name a task. */
export function markOf(record: Pick<TaskRecord, "id" | "task" | "lane">): TaskMark {
  return { taskId: record.id, task: record.task, lane: record.lane };
}
