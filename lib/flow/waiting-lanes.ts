import type { Clock, Timer } from "../ports/clock.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import type { Waiting } from "./launch.ts";

/** Candidates that wait in their worker for a slot, lane by lane, the oldest first. */
export class WaitingLanes {
  readonly #lanes = new Map<Lane, Waiting[]>(LANES.map((lane) => [lane, []]));
  readonly #timers = new Set<Timer>();
  readonly #clock: Clock;
  readonly #patienceMs: number;
  readonly #passOn: (candidate: Waiting) => void;

  /** @param passOn takes one that has waited long enough: another worker gets the chance */
  constructor(clock: Clock, patienceMs: number, passOn: (candidate: Waiting) => void) {
    this.#clock = clock;
    this.#patienceMs = patienceMs;
    this.#passOn = passOn;
  }

  count(lane: Lane): number {
    return this.#of(lane).length;
  }

  get isEmpty(): boolean {
    return LANES.every((lane) => this.count(lane) === 0);
  }

  /** Lets one wait. A suspect that was passed over once goes first. */
  add(candidate: Waiting): void {
    const waiting = this.#of(candidate.delivery.lane);
    if (candidate.envelope.passedOver) waiting.unshift(candidate);
    else waiting.push(candidate);
  }

  /** Takes out those of a lane that are not to wait any more. */
  removeUnless(lane: Lane, mayWait: (candidate: Waiting) => boolean): Waiting[] {
    const { kept = [], removed = [] } = Object.groupBy(this.#of(lane), (each) => (mayWait(each) ? "kept" : "removed"));
    this.#lanes.set(lane, kept);
    return removed;
  }

  /** Takes out the first ones of a lane. */
  take(lane: Lane, most: number): Waiting[] {
    return this.#of(lane).splice(0, Math.max(0, most));
  }

  /** What several lanes brought at once may be more than there are slots: what waits now is passed on once its patience has ended. */
  passOnLater(): void {
    const left = [...this.#lanes.values()].flat();
    if (left.length === 0) return;
    const timer = this.#clock.timer(this.#patienceMs, () => {
      this.#timers.delete(timer);
      for (const candidate of left) {
        const waiting = this.#of(candidate.delivery.lane);
        const place = waiting.indexOf(candidate);
        if (place < 0) continue;
        waiting.splice(place, 1);
        this.#passOn(candidate);
      }
    });
    this.#timers.add(timer);
  }

  /** Takes all of them out. */
  clear(): Waiting[] {
    for (const timer of this.#timers) timer.cancel();
    this.#timers.clear();
    return LANES.flatMap((lane) => this.#of(lane).splice(0));
  }

  #of(lane: Lane): Waiting[] {
    return this.#lanes.get(lane) ?? [];
  }
}
