import type { Timer } from "../ports/clock.ts";
import { itemBytes } from "../task/item-size.ts";
import type { Json } from "../task/json.ts";
import { canonicalJson } from "../task/json.ts";
import { RECORD_MAX_BYTES } from "../task/limits.ts";
import { encodeRecord } from "../task/record-codec.ts";
import type { TaskRecord } from "../task/record.ts";
import type { Services } from "./services.ts";

/** Between two writes, in milliseconds. */
const EVERY_MS = 1_000;
/** Bytes that progress leaves free in the record, for what the settlement adds to it. */
const SETTLEMENT_BYTES = 128;

/** The attempt whose progress is shown. */
interface Shown {
  /** As the ledger has it, as far as this process knows. */
  record(): TaskRecord;
  onWritten(record: TaskRecord): void;
}

/**
 * Shows how far an attempt is: at most one write a second, and the last value wins. What was not shown yet when the attempt
 * ends goes along with its settlement. Progress is for people, so nothing here ever fails the work.
 */
export class Progress {
  readonly #services: Services;
  readonly #attempt: Shown;
  #next: string | undefined;
  #writing: Promise<void> = Promise.resolve();
  #writtenAt = Number.NEGATIVE_INFINITY;
  #timer: Timer | undefined;
  #ended = false;

  constructor(services: Services, attempt: Shown) {
    this.#services = services;
    this.#attempt = attempt;
  }

  /** Shows a value now, or when a second is over since the last one. */
  async show(value: Json): Promise<void> {
    const progress = this.#ended ? undefined : this.#encode(value);
    if (progress === undefined) return;
    this.#next = progress;
    const { clock } = this.#services;
    const waitMs = this.#writtenAt + EVERY_MS - clock.monotonic();
    if (waitMs <= 0) await this.#write();
    else this.#timer ??= clock.timer(waitMs, () => void this.#write());
  }

  /** Shows nothing any more, and answers what was not shown yet, once no write is under way. */
  async end(): Promise<string | undefined> {
    this.#ended = true;
    this.#timer?.cancel();
    await this.#writing;
    return this.#next;
  }

  #encode(value: Json): string | undefined {
    try {
      const progress = canonicalJson(value, "progress");
      const bytes = itemBytes(encodeRecord({ ...this.#attempt.record(), progress }));
      return bytes + SETTLEMENT_BYTES > RECORD_MAX_BYTES ? undefined : progress;
    } catch {
      return undefined;
    }
  }

  #write(): Promise<void> {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#writtenAt = this.#services.clock.monotonic();
    this.#writing = this.#send().catch(() => undefined);
    return this.#writing;
  }

  async #send(): Promise<void> {
    const progress = this.#next;
    if (progress === undefined || this.#ended) return;
    this.#next = undefined;
    const { id, fence, owner } = this.#attempt.record();
    const write = { id, fence, owner, patch: { set: { progress } } };
    const [outcome] = await this.#services.backend.ledger.renewMany([write]);
    if (outcome?.kind === "written") this.#attempt.onWritten(outcome.record);
  }
}
