import type { Timer } from "../ports/clock.ts";
import { LANES } from "../task/lane.ts";
import { RENEWAL_MAX_MS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Delivery } from "./claim.ts";
import type { Services } from "./services.ts";

/** A lease that is being kept. */
export interface HeldLease {
  record: TaskRecord;
  /** When it was claimed, on the monotonic clock. */
  readonly since: number;
  /** Called once, when another worker has it. */
  onLost(): void;
  /** Called at each renewal with what the record says now. */
  onRenewed(record: TaskRecord): void;
}

interface Entry {
  readonly delivery: Delivery;
  dueAt: number;
  lease: HeldLease | undefined;
}

/** How long leases last, and how far clocks may differ. In milliseconds. */
export interface LeaseTimes {
  readonly leaseMs: number;
  readonly skewMs: number;
}

/** How long a message with a fresh lease stays out of sight. */
export function visibilityOf({ leaseMs, skewMs }: LeaseTimes, remainingMs: number = leaseMs): number {
  return Math.max(leaseMs, remainingMs) + skewMs + 1_000;
}

/**
 * Keeps messages out of sight and leases alive, by one timer for the whole process.
 *
 * The first tick comes min(5 s, a third of the lease) after a message arrived, then every third. One request extends up to ten
 * messages. The ledger is written only where an attempt outlives its lease, and the older it is the longer each renewal
 * lasts, so that a long task costs few writes.
 */
export class Heartbeat {
  readonly #services: Services;
  readonly #times: LeaseTimes;
  readonly #entries = new Set<Entry>();
  #timer: Timer | undefined;
  #timerAt = 0;

  constructor(services: Services, times: LeaseTimes) {
    this.#services = services;
    this.#times = times;
  }

  /** Starts to keep a message. */
  add(delivery: Delivery): void {
    const first = Math.min(5_000, this.#times.leaseMs / 3);
    this.#entries.add({ delivery, dueAt: this.#services.clock.monotonic() + first, lease: undefined });
    this.#schedule();
  }

  /** Starts to keep the lease that was claimed by a message. */
  hold(delivery: Delivery, lease: HeldLease): void {
    const entry = this.#find(delivery);
    if (entry !== undefined) entry.lease = lease;
  }

  /** Ends keeping the lease, and goes on keeping the message until it is removed. */
  release(delivery: Delivery): void {
    const entry = this.#find(delivery);
    if (entry !== undefined) entry.lease = undefined;
  }

  /** Ends keeping a message. */
  remove(delivery: Delivery): void {
    const entry = this.#find(delivery);
    if (entry !== undefined) this.#entries.delete(entry);
    if (this.#entries.size === 0) this.#cancelTimer();
  }

  /** Ends keeping anything: what is still held is for others. */
  stop(): void {
    this.#entries.clear();
    this.#cancelTimer();
  }

  #find(delivery: Delivery): Entry | undefined {
    for (const entry of this.#entries) if (entry.delivery === delivery) return entry;
    return undefined;
  }

  #cancelTimer(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #schedule(): void {
    let next = Number.POSITIVE_INFINITY;
    for (const entry of this.#entries) next = Math.min(next, entry.dueAt);
    if (!Number.isFinite(next) || (this.#timer !== undefined && this.#timerAt <= next)) return;
    this.#cancelTimer();
    this.#timerAt = next;
    this.#timer = this.#services.clock.timer(Math.max(0, next - this.#services.clock.monotonic()), () => {
      this.#timer = undefined;
      // A tick that fails is repeated by the next one, which comes well within the lease.
      void this.#tick().catch(() => undefined);
    });
  }

  async #tick(): Promise<void> {
    const now = this.#services.clock.monotonic();
    // Whatever is due soon goes along, so that messages of different age share a request.
    const due = [...this.#entries].filter((entry) => entry.dueAt <= now + this.#times.leaseMs / 6);
    for (const entry of due) entry.dueAt = now + this.#times.leaseMs / 3;
    this.#schedule();
    await this.#renew(due.filter((entry) => entry.lease !== undefined));
    await Promise.all(LANES.map((lane) => this.#extend(due.filter((entry) => entry.delivery.lane === lane))));
  }

  async #extend(entries: readonly Entry[]): Promise<void> {
    const kept = entries.filter((entry) => this.#entries.has(entry));
    const [first] = kept;
    if (first === undefined) return;
    const now = this.#services.clock.now();
    await this.#services.backend.queue.hide(
      { lane: first.delivery.lane },
      kept.map((entry) => ({
        receipt: entry.delivery.message.receipt,
        visibilityMs: visibilityOf(this.#times, (entry.lease?.record.leaseUntil ?? 0) - now),
      })),
    );
  }

  async #renew(entries: readonly Entry[]): Promise<void> {
    const { clock, backend } = this.#services;
    const now = clock.now();
    const needy = entries.flatMap((entry) => {
      const { lease } = entry;
      const left = (lease?.record.leaseUntil ?? 0) - now;
      // The next tick comes a third of a lease later: what would not live to see it, and a little more, is renewed now.
      return lease !== undefined && left <= (this.#times.leaseMs * 5) / 12 ? [{ entry, lease }] : [];
    });
    if (needy.length === 0) return;
    const outcomes = await backend.ledger.renewMany(
      needy.map(({ lease: { record, since } }) => {
        const length = Math.min(RENEWAL_MAX_MS, Math.max(this.#times.leaseMs, clock.monotonic() - since));
        return {
          id: record.id,
          fence: record.fence,
          owner: record.owner,
          patch: { set: { leaseUntil: now + Math.round(length) } },
        };
      }),
    );
    for (const [at, outcome] of outcomes.entries()) {
      const { entry, lease } = needy[at] ?? {};
      // An attempt that was settled while its renewal was under way has nothing to lose any more.
      if (lease === undefined || entry?.lease !== lease) continue;
      if (outcome.kind === "written") {
        lease.record = outcome.record;
        lease.onRenewed(outcome.record);
      } else if (outcome.kind === "refused") {
        entry.lease = undefined;
        lease.onLost();
      } else entry.dueAt = clock.monotonic() + this.#times.leaseMs / 12;
    }
    this.#schedule();
  }
}
