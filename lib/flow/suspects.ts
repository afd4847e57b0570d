import type { Clock, Timer } from "../ports/clock.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Waiting } from "./launch.ts";

/** A task whose last attempt ended without a word, waiting for its worker to be quiet. */
export interface Suspect {
  readonly candidate: Waiting;
  readonly record: TaskRecord;
}

interface Kept extends Suspect {
  /** Ends the wait. */
  readonly patience: Timer;
}

/** Suspects that wait here for their turn; more are put back. */
const SUSPECTS_MAX = 4;

/** The suspects that a worker keeps for the moment at which nothing else runs there. */
export class Suspects {
  readonly #kept: Kept[] = [];
  readonly #clock: Clock;
  readonly #patienceMs: number;
  readonly #passOn: (candidate: Waiting) => void;

  /** @param passOn takes a suspect that has waited long enough: what runs here may run for hours */
  constructor(clock: Clock, patienceMs: number, passOn: (candidate: Waiting) => void) {
    this.#clock = clock;
    this.#patienceMs = patienceMs;
    this.#passOn = passOn;
  }

  get size(): number {
    return this.#kept.length;
  }

  /** Keeps one if there is room. One that was passed over before goes first. */
  keep(candidate: Waiting, record: TaskRecord): boolean {
    const { passedOver } = candidate.envelope;
    if (this.#kept.length >= (passedOver ? SUSPECTS_MAX : 1)) return false;
    const patience = this.#clock.timer(this.#patienceMs, () => {
      const place = this.#kept.indexOf(kept);
      if (place < 0) return;
      this.#kept.splice(place, 1);
      this.#passOn(candidate);
    });
    const kept: Kept = { candidate, record, patience };
    if (passedOver) this.#kept.unshift(kept);
    else this.#kept.push(kept);
    return true;
  }

  /** Takes the next one out. */
  next(): Suspect | undefined {
    const kept = this.#kept.shift();
    kept?.patience.cancel();
    return kept;
  }

  /** Takes all of them out. */
  clear(): Waiting[] {
    return this.#kept.splice(0).map(({ candidate, patience }) => {
      patience.cancel();
      return candidate;
    });
  }
}
