import type { Clock, Random } from "../ports/clock.ts";
import type {
  EntryOutcome,
  OutgoingMessage,
  Queue,
  QueueAddress,
  QueueDepth,
  ReceivedMessage,
  ReceiveOptions,
} from "../ports/queue.ts";
import { TasklaneError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";
import { LANES } from "../task/lane.ts";
import {
  DLQ_RETENTION_MS,
  QUEUE_RETENTION_MS,
  RECEIVE_LIMIT,
  SQS_BATCH_MAX_ENTRIES,
  SQS_VISIBILITY_MAX_MS,
  SQS_WAIT_MAX_MS,
} from "../task/limits.ts";
import type { Faults, MemoryVerb, Strike } from "./memory-faults.ts";
import { strike, withFault } from "./memory-faults.ts";
import { refusalOf, wholeSecondsDown, wholeSecondsUp } from "./outgoing-refusal.ts";
import { SimulatedQueue } from "./simulated-queue.ts";

/** What a {@link MemoryQueue} is made of. */
export interface MemoryQueueOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** The lanes that exist; the others' messages go to `normal`. Default all four. */
  readonly lanes?: readonly Lane[] | undefined;
  /** The chance that a message is delivered twice, by copies that are acknowledged apart. Default 0. */
  readonly duplicateRate?: number | undefined;
  /** Whether the receipt of an earlier receive removes the message: SQS may do either. Default `"keeps"`. */
  readonly staleDelete?: "keeps" | "removes" | undefined;
  readonly faults?: Faults | undefined;
}

/** SQS in memory, on a clock that tests move: one queue and one dead letter queue for each lane. */
export class MemoryQueue implements Queue {
  readonly #faults: Faults | undefined;
  readonly #lanes = new Map<Lane, { readonly live: SimulatedQueue; readonly dead: SimulatedQueue }>();

  constructor(options: MemoryQueueOptions) {
    const { clock, random, lanes = LANES, duplicateRate = 0, staleDelete = "keeps" } = options;
    this.#faults = options.faults;
    for (const lane of lanes) {
      const same = { clock, random, duplicateRate, staleDelete };
      const dead = new SimulatedQueue({ ...same, name: `${lane}-dlq`, retentionMs: DLQ_RETENTION_MS });
      const redrive = { limit: RECEIVE_LIMIT, to: dead };
      const live = new SimulatedQueue({ ...same, name: lane, retentionMs: QUEUE_RETENTION_MS, redrive });
      this.#lanes.set(lane, { live, dead });
    }
  }

  async send(address: QueueAddress, messages: readonly OutgoingMessage[]): Promise<EntryOutcome[]> {
    const queue = this.#find(address);
    const bodies = messages.map((message) => message.body);
    const struck = await this.#strikeAll("send", address, bodies);
    const accepted: { body: string; delayMs: number }[] = [];
    const outcomes = messages.map((message, place) => {
      const refusal = struck[place]?.done === false ? struck[place].error : refusalOf(message);
      if (refusal !== undefined) return { ok: false, error: refusal } as const;
      accepted.push({ body: message.body, delayMs: wholeSecondsDown(message.delayMs ?? 0) });
      return outcomeUnder(struck[place]);
    });
    queue.send(accepted);
    return outcomes;
  }

  receive(address: QueueAddress, options: ReceiveOptions): Promise<ReceivedMessage[]> {
    const visibilityMs = wholeSecondsUp(options.visibilityMs);
    return withFault(this.#faults, { verb: "receive", target: nameOf(address) }, () => {
      checkRange("max", options.max, 1, SQS_BATCH_MAX_ENTRIES);
      checkRange("waitMs", options.waitMs, 0, SQS_WAIT_MAX_MS);
      checkRange("visibilityMs", visibilityMs, 0, SQS_VISIBILITY_MAX_MS);
      return this.#find(address).receive({ ...options, visibilityMs });
    });
  }

  async acknowledge(address: QueueAddress, receipts: readonly string[]): Promise<EntryOutcome[]> {
    const queue = this.#find(address);
    const struck = await this.#strikeAll("acknowledge", address, receipts);
    return receipts.map((receipt, place) => {
      if (struck[place]?.done !== false) queue.acknowledge(receipt);
      return outcomeUnder(struck[place]);
    });
  }

  async hide(
    address: QueueAddress,
    entries: readonly { receipt: string; visibilityMs: number }[],
  ): Promise<EntryOutcome[]> {
    const queue = this.#find(address);
    const receipts = entries.map((entry) => entry.receipt);
    const struck = await this.#strikeAll("hide", address, receipts);
    return entries.map(({ receipt, visibilityMs }, place) => {
      if (struck[place]?.done === false) return outcomeUnder(struck[place]);
      const refused = queue.hide(receipt, wholeSecondsUp(visibilityMs));
      if (refused === undefined) return outcomeUnder(struck[place]);
      return { ok: false, error: invalid(refused.refusal, { receipt, visibilityMs }, "a receipt of the last receive") };
    });
  }

  depth(address: QueueAddress): Promise<QueueDepth> {
    return withFault(this.#faults, { verb: "depth", target: nameOf(address) }, () => this.#find(address).depth());
  }

  /** When the next message of any lane becomes visible, in the past if one is. Dead letter queues do not count: nothing polls them. */
  nextVisibleAt(): number | undefined {
    const times = [...this.#lanes.values()].map(({ live }) => live.nextVisibleAt()).filter((at) => at !== undefined);
    return times.length === 0 ? undefined : Math.min(...times);
  }

  /** Ends every waiting receive, with no messages; later ones do not wait. */
  close(): void {
    for (const { live, dead } of this.#lanes.values()) {
      live.close();
      dead.close();
    }
  }

  #find({ lane, dead = false }: QueueAddress): SimulatedQueue {
    const queues = this.#lanes.get(lane) ?? this.#lanes.get("normal");
    if (queues === undefined)
      throw new TasklaneError("RESOURCE_MISSING", { what: "The topology has no such lane", received: lane });
    return dead ? queues.dead : queues.live;
  }

  #strikeAll(verb: MemoryVerb, address: QueueAddress, entries: readonly string[]): Promise<(Strike | undefined)[]> {
    const target = nameOf(address);
    return Promise.all(entries.map((entry) => strike(this.#faults, { verb, target, entry })));
  }
}

function nameOf({ lane, dead = false }: QueueAddress): string {
  return dead ? `${lane}-dlq` : lane;
}

function outcomeUnder(struck: Strike | undefined): EntryOutcome {
  return struck === undefined ? { ok: true } : { ok: false, error: struck.error };
}

function checkRange(name: string, value: number, least: number, most: number): void {
  if (!(value >= least && value <= most))
    throw invalid(`The option ${name} is none that SQS takes`, value, `${least} to ${most}`);
}

function invalid(what: string, received: unknown, expected: string): TasklaneError {
  return new TasklaneError("OPTION_INVALID", { what, received, expected });
}
