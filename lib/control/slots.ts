import type { Lane } from "../task/lane.ts";
import { LANE_WEIGHTS } from "../task/lane.ts";

/**
 * How a worker's concurrency is shared between its lanes. Each lane owns slots by its weight, at least one; idle slots are
 * lent to whoever has work, and a slot that comes back goes to a lane below its own share first. The most urgent lane keeps
 * one slot unlent where there are more slots than lanes, so that an urgent task waits for urgent tasks only.
 */
export class Slots {
  readonly #own = new Map<Lane, number>();
  readonly #used = new Map<Lane, number>();
  readonly #lanes: readonly Lane[];
  readonly #total: number;

  /** @param lanes most urgent first */
  constructor(lanes: readonly Lane[], concurrency: number) {
    this.#lanes = lanes;
    this.#total = concurrency;
    const weights = lanes.reduce((sum, lane) => sum + LANE_WEIGHTS[lane], 0);
    for (const lane of lanes)
      this.#own.set(lane, Math.max(1, Math.floor((concurrency * LANE_WEIGHTS[lane]) / weights)));
    // What rounding left over goes to the most urgent lane.
    const first = lanes[0];
    const given = [...this.#own.values()].reduce((sum, own) => sum + own, 0);
    if (first !== undefined && given < concurrency)
      this.#own.set(first, (this.#own.get(first) ?? 0) + concurrency - given);
  }

  /** Slots in use. */
  get used(): number {
    let sum = 0;
    for (const used of this.#used.values()) sum += used;
    return sum;
  }

  /** How many slots a lane may take now, given which other lanes have work waiting. */
  free(lane: Lane, waiting: (other: Lane) => boolean = () => false): number {
    const idle = this.#total - this.used;
    if (idle <= 0) return 0;
    // What is unlent of the most urgent lane: not even a lane's own share takes it, since lent slots may be out.
    let reserved = 0;
    let kept = 0;
    for (const [place, other] of this.#lanes.entries()) {
      if (other === lane) continue;
      const ownLeft = this.#ownLeft(other);
      if (place === 0 && this.#total > this.#lanes.length) reserved = Math.min(1, ownLeft);
      kept += waiting(other) ? ownLeft : place === 0 ? reserved : 0;
    }
    return Math.max(0, Math.min(this.#ownLeft(lane), idle - reserved), idle - kept);
  }

  #ownLeft(lane: Lane): number {
    return Math.max(0, (this.#own.get(lane) ?? 0) - (this.#used.get(lane) ?? 0));
  }

  take(lane: Lane): void {
    this.#used.set(lane, (this.#used.get(lane) ?? 0) + 1);
  }

  give(lane: Lane): void {
    this.#used.set(lane, Math.max(0, (this.#used.get(lane) ?? 0) - 1));
  }
}
