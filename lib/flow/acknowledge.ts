import type { Timer } from "../ports/clock.ts";
import type { Lane } from "../task/lane.ts";
import { SQS_BATCH_MAX_ENTRIES } from "../task/limits.ts";
import type { Delivery } from "./claim.ts";
import type { RunnerHost } from "./runner.ts";
import type { Services } from "./services.ts";

/** How long an acknowledgement waits for others to share its request, in milliseconds. */
const LINGER_MS = 50;

interface Pending {
  readonly acknowledge: string[];
  readonly release: { receipt: string; visibilityMs: number }[];
  timer: Timer | undefined;
}

/**
 * Gives messages back to their queue, ten to a request. An acknowledgement that is lost does no harm: the task's record says
 * that it has ended, and the copy is dropped.
 */
export class AcknowledgeBuffer implements RunnerHost {
  readonly #services: Services;
  readonly #pending = new Map<Lane, Pending>();
  readonly #requests = new Set<Promise<unknown>>();
  #closed = false;

  constructor(services: Services) {
    this.#services = services;
  }

  acknowledge(delivery: Delivery): void {
    if (this.#closed) return;
    const pending = this.#of(delivery.lane);
    pending.acknowledge.push(delivery.message.receipt);
    this.#arm(delivery.lane, pending, pending.acknowledge.length);
  }

  release(delivery: Delivery, visibilityMs: number): void {
    if (this.#closed) return;
    const pending = this.#of(delivery.lane);
    pending.release.push({ receipt: delivery.message.receipt, visibilityMs });
    this.#arm(delivery.lane, pending, pending.release.length);
  }

  /** Sends what is waiting, and resolves when all requests were answered. */
  async flush(): Promise<void> {
    for (const lane of this.#pending.keys()) this.#send(lane);
    while (this.#requests.size > 0) await Promise.all(this.#requests);
  }

  /** Forgets what is waiting, and takes no more: its receipts are of a time that is over. */
  close(): void {
    this.#closed = true;
    for (const pending of this.#pending.values()) pending.timer?.cancel();
    this.#pending.clear();
  }

  #of(lane: Lane): Pending {
    const known = this.#pending.get(lane);
    if (known !== undefined) return known;
    const fresh: Pending = { acknowledge: [], release: [], timer: undefined };
    this.#pending.set(lane, fresh);
    return fresh;
  }

  #arm(lane: Lane, pending: Pending, waiting: number): void {
    if (waiting >= SQS_BATCH_MAX_ENTRIES) this.#send(lane);
    else pending.timer ??= this.#services.clock.timer(LINGER_MS, () => this.#send(lane));
  }

  #send(lane: Lane): void {
    const pending = this.#of(lane);
    pending.timer?.cancel();
    pending.timer = undefined;
    const { queue } = this.#services.backend;
    const receipts = pending.acknowledge.splice(0);
    const entries = pending.release.splice(0);
    if (receipts.length > 0) this.#keep(queue.acknowledge({ lane }, receipts));
    if (entries.length > 0) this.#keep(queue.hide({ lane }, entries));
  }

  #keep(request: Promise<unknown>): void {
    const kept: Promise<unknown> = request.catch(() => undefined).finally(() => this.#requests.delete(kept));
    this.#requests.add(kept);
  }
}
