import type { TasklaneError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";

/** One SQS queue of a lane: the one that workers poll, or its dead letter queue. */
export interface QueueAddress {
  readonly lane: Lane;
  readonly dead?: boolean | undefined;
}

/** A message to send. */
export interface OutgoingMessage {
  /** ASCII only. */
  readonly body: string;
  /** Time out of sight, rounded down to whole seconds, at most 900 s. Default none. */
  readonly delayMs?: number | undefined;
}

/** A message as received. */
export interface ReceivedMessage {
  readonly id: string;
  /** Names this receive, not the message: a later receive makes it stale. */
  readonly receipt: string;
  readonly body: string;
  /** Approximate, from 1. */
  readonly receiveCount: number;
  /** When it was sent first, in milliseconds since 1970. */
  readonly sentAt: number;
}

/** What became of one entry of a batch. */
export type EntryOutcome = { readonly ok: true } | { readonly ok: false; readonly error: TasklaneError };

/** How to receive. */
export interface ReceiveOptions {
  /** From 1 to 10. */
  readonly max: number;
  /** How long to wait for a message, at most 20 s. 0 = do not wait. */
  readonly waitMs: number;
  /** How long the messages stay out of sight. */
  readonly visibilityMs: number;
  /** Ends the wait early, with no messages. */
  readonly signal?: AbortSignal | undefined;
}

/** Approximate counts, as SQS gives them: nothing irreversible is decided on them. */
export interface QueueDepth {
  readonly visible: number;
  readonly delayed: number;
  readonly inFlight: number;
}

/** The wake-up calls: SQS's semantics of at-least-once delivery, visibility and delay. Every verb takes any number of entries and answers in their order. */
export interface Queue {
  /** Sends by as few requests as count and bytes allow; each entry that the service refuses for a passing cause is tried again alone. Never throws for an entry. */
  send(address: QueueAddress, messages: readonly OutgoingMessage[]): Promise<EntryOutcome[]>;
  /** @throws TasklaneError `BACKEND_UNAVAILABLE`, `PERMISSION_DENIED`, `RESOURCE_MISSING` */
  receive(address: QueueAddress, options: ReceiveOptions): Promise<ReceivedMessage[]>;
  /** Removes messages. A stale receipt may or may not remove, and is no error: this is never the commit point. */
  acknowledge(address: QueueAddress, receipts: readonly string[]): Promise<EntryOutcome[]>;
  /** Restarts the time out of sight. 0 shows the message at once. */
  hide(address: QueueAddress, entries: readonly { receipt: string; visibilityMs: number }[]): Promise<EntryOutcome[]>;
  /** @throws TasklaneError as `receive` */
  depth(address: QueueAddress): Promise<QueueDepth>;
}
