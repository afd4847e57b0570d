import type { Clock, Random, Timer } from "../ports/clock.ts";
import type { QueueDepth, ReceivedMessage } from "../ports/queue.ts";
import { SQS_VISIBILITY_MAX_MS } from "../task/limits.ts";
import { popHeap, pushHeap } from "./heap.ts";

/** SQS's limit of messages in flight on a standard queue. https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/quotas-queues.html */
const IN_FLIGHT_MAX_MESSAGES = 120_000;
/** How soon a waiting receive looks again while the queue has too many messages in flight. */
const OVER_LIMIT_PAUSE_MS = 1_000;

/** What one SQS queue is like. */
export interface SimulatedQueueSettings {
  /** Starts every receipt, so that no queue takes another's. */
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly retentionMs: number;
  /** Where a message goes that was received too often. */
  readonly redrive?: { readonly limit: number; readonly to: SimulatedQueue } | undefined;
  /** The chance that a message is delivered by a second server too. */
  readonly duplicateRate: number;
  /** Whether an earlier receive's receipt removes the message. */
  readonly staleDelete: "keeps" | "removes";
}

interface Stored {
  readonly id: string;
  readonly body: string;
  readonly sentAt: number;
  /** Another server's copy: it has a life of its own, and is not copied again. */
  readonly copied: boolean;
  /** Names this copy in receipts. */
  readonly number: number;
  receiveCount: number;
  receivedAt: number;
  visibleAt: number;
  /** Its valid entry in the heap: the others are leftovers of times since changed. */
  showing: Showing | undefined;
}

interface Showing {
  readonly at: number;
  readonly order: number;
  readonly message: Stored;
}

interface Waiter {
  readonly max: number;
  readonly visibilityMs: number;
  finish(messages: ReceivedMessage[]): void;
}

/** How to receive, times in milliseconds. */
interface TakeOptions {
  readonly max: number;
  readonly visibilityMs: number;
}

/**
 * One SQS standard queue on a clock: at-least-once, with times out of sight, receive counts, retention and redrive.
 *
 * Messages come in the order in which they became visible, which SQS does not promise.
 */
export class SimulatedQueue {
  readonly #settings: SimulatedQueueSettings;
  readonly #messages = new Map<number, Stored>();
  readonly #heap: Showing[] = [];
  readonly #waiters: Waiter[] = [];
  #timer: Timer | undefined;
  #numbers = 0;
  #order = 0;
  /** Messages that were received and are still here: in flight are these at most. */
  #received = 0;
  #closed = false;

  constructor(settings: SimulatedQueueSettings) {
    this.#settings = settings;
  }

  /** Takes messages in, which waiting receives get at once. */
  send(messages: readonly { readonly body: string; readonly delayMs: number }[]): void {
    const { clock, random } = this.#settings;
    const now = clock.now();
    for (const { body, delayMs } of messages)
      this.#add({ id: random.id(now), body, sentAt: now, copied: false, receiveCount: 0 }, now + delayMs);
    this.#serve();
  }

  /** Takes in a message from the queue whose receive limit it has reached. It keeps its id, its count and its age. */
  #takeDead(dead: Stored): void {
    this.#add(dead, this.#settings.clock.now());
    this.#serve();
  }

  #add(message: Pick<Stored, "id" | "body" | "sentAt" | "copied" | "receiveCount">, visibleAt: number): void {
    const { id, body, sentAt, copied, receiveCount } = message;
    const number = ++this.#numbers;
    const stored = { id, body, sentAt, copied, number, receiveCount, receivedAt: 0, visibleAt, showing: undefined };
    this.#messages.set(number, stored);
    this.#show(stored, visibleAt);
  }

  #show(message: Stored, at: number): void {
    message.visibleAt = at;
    message.showing = { at, order: this.#order++, message };
    pushHeap(this.#heap, message.showing, showsBefore);
  }

  #remove(message: Stored): void {
    message.showing = undefined;
    if (this.#messages.delete(message.number) && message.receivedAt > 0) this.#received -= 1;
  }

  #isOver(message: Stored, now: number): boolean {
    return message.sentAt + this.#settings.retentionMs <= now;
  }

  /** When the next message becomes visible, in the past if one is; `undefined` if there is none. */
  nextVisibleAt(): number | undefined {
    const now = this.#settings.clock.now();
    for (let first = this.#heap[0]; first !== undefined; first = this.#heap[0]) {
      const { message } = first;
      if (message.showing === first && !this.#isOver(message, now)) return first.at;
      if (message.showing === first) this.#remove(message);
      popHeap(this.#heap, showsBefore);
    }
    return undefined;
  }

  /** Receives what is visible now. */
  take({ max, visibilityMs }: TakeOptions): ReceivedMessage[] {
    const now = this.#settings.clock.now();
    const taken: Stored[] = [];
    const room = Math.min(max, this.#inFlightRoom(max));
    while (taken.length < room) {
      const at = this.nextVisibleAt();
      if (at === undefined || at > now) break;
      const message = popHeap(this.#heap, showsBefore)?.message;
      if (message === undefined) break;
      message.showing = undefined;
      if (!this.#redrive(message)) taken.push(message);
    }
    return taken.map((message) => this.#deliver(message, visibilityMs));
  }

  #redrive(message: Stored): boolean {
    const { redrive } = this.#settings;
    if (redrive === undefined || message.receiveCount < redrive.limit) return false;
    this.#remove(message);
    redrive.to.#takeDead(message);
    return true;
  }

  #deliver(message: Stored, visibilityMs: number): ReceivedMessage {
    const { clock, random, duplicateRate } = this.#settings;
    const now = clock.now();
    if (message.receiveCount === 0 && !message.copied && duplicateRate > 0 && random.next() < duplicateRate)
      this.#add({ ...message, copied: true }, now);
    if (message.receivedAt === 0) this.#received += 1;
    message.receiveCount += 1;
    message.receivedAt = now;
    this.#show(message, now + visibilityMs);
    const { id, body, sentAt, receiveCount } = message;
    return { id, body, sentAt, receiveCount, receipt: this.#receiptOf(message) };
  }

  #receiptOf(message: Stored): string {
    return `${this.#settings.name}/${message.number}/${message.receiveCount}`;
  }

  #findByReceipt(receipt: string): Stored | undefined {
    const [name, number] = receipt.split("/");
    const message = name === this.#settings.name ? this.#messages.get(Number(number)) : undefined;
    return message === undefined || this.#isOver(message, this.#settings.clock.now()) ? undefined : message;
  }

  #inFlightRoom(wanted: number): number {
    if (this.#received + wanted <= IN_FLIGHT_MAX_MESSAGES) return wanted;
    return Math.max(0, IN_FLIGHT_MAX_MESSAGES - this.depth().inFlight);
  }

  /** Receives, and waits if nothing is visible: until something is, the time is over, or the signal aborts. */
  receive(
    options: TakeOptions & { readonly waitMs: number; readonly signal?: AbortSignal | undefined },
  ): Promise<ReceivedMessage[]> {
    const { signal, waitMs, max, visibilityMs } = options;
    if (signal?.aborted) return Promise.resolve([]);
    const messages = this.take(options);
    if (messages.length > 0 || waitMs <= 0 || this.#closed) return Promise.resolve(messages);
    return new Promise((resolve) => {
      const finish = (received: ReceivedMessage[]): void => {
        timer.cancel();
        signal?.removeEventListener("abort", giveUp);
        const place = this.#waiters.indexOf(waiter);
        if (place >= 0) this.#waiters.splice(place, 1);
        this.#watch();
        resolve(received);
      };
      const giveUp = (): void => finish([]);
      const waiter: Waiter = { max, visibilityMs, finish };
      const timer = this.#settings.clock.timer(waitMs, giveUp);
      signal?.addEventListener("abort", giveUp, { once: true });
      this.#waiters.push(waiter);
      this.#watch();
    });
  }

  /** Gives visible messages to those who wait, in the order in which they came. */
  #serve(): void {
    for (let waiter = this.#waiters[0]; waiter !== undefined; waiter = this.#waiters[0]) {
      const messages = this.take(waiter);
      if (messages.length === 0) break;
      waiter.finish(messages);
    }
    this.#watch();
  }

  /** Keeps one timer, for the moment at which the next message shows, and only while somebody waits. */
  #watch(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const at = this.#waiters.length === 0 ? undefined : this.nextVisibleAt();
    if (at === undefined) return;
    const { clock } = this.#settings;
    const now = clock.now();
    this.#timer = clock.timer(at > now ? at - now : OVER_LIMIT_PAUSE_MS, () => this.#serve());
  }

  /** Ends every waiting receive; later ones do not wait. */
  close(): void {
    this.#closed = true;
    for (let waiter = this.#waiters[0]; waiter !== undefined; waiter = this.#waiters[0]) waiter.finish([]);
  }

  /** Removes the message of a receipt; an earlier receive's receipt may or may not. */
  acknowledge(receipt: string): void {
    const message = this.#findByReceipt(receipt);
    if (message === undefined) return;
    if (this.#receiptOf(message) === receipt || this.#settings.staleDelete === "removes") this.#remove(message);
  }

  /** Restarts the time out of sight, or answers why not. */
  hide(receipt: string, visibilityMs: number): { readonly refusal: string } | undefined {
    const now = this.#settings.clock.now();
    const message = this.#findByReceipt(receipt);
    if (message === undefined || this.#receiptOf(message) !== receipt || message.visibleAt <= now)
      return { refusal: "The receipt names no message that is in flight under it" };
    if (now + visibilityMs - message.receivedAt > SQS_VISIBILITY_MAX_MS)
      return { refusal: "The message would be out of sight for more than 12 hours since it was received" };
    this.#show(message, now + visibilityMs);
    this.#serve();
    return undefined;
  }

  /** Counts messages; exact here, though SQS's counts are not. */
  depth(): QueueDepth {
    const now = this.#settings.clock.now();
    let [visible, delayed, inFlight] = [0, 0, 0];
    for (const message of this.#messages.values()) {
      if (this.#isOver(message, now)) this.#remove(message);
      else if (message.visibleAt <= now) visible += 1;
      else if (message.receivedAt === 0) delayed += 1;
      else inFlight += 1;
    }
    return { visible, delayed, inFlight };
  }
}

function showsBefore(left: Showing, right: Showing): boolean {
  return left.at < right.at || (left.at === right.at && left.order < right.order);
}
