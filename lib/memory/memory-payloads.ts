import type { Clock } from "../ports/clock.ts";
import type { Payloads } from "../ports/payloads.ts";
import { LIFE_CLASSES } from "../task/payload-ref.ts";
import type { Faults } from "./memory-faults.ts";
import { withFault } from "./memory-faults.ts";

const DAY_MS = 86_400_000;

/** What a {@link MemoryPayloads} is made of. */
export interface MemoryPayloadsOptions {
  readonly clock: Clock;
  readonly faults?: Faults | undefined;
}

/** S3 in memory: whole objects, put if absent, and deleted by the lifecycle rule of their prefix. */
export class MemoryPayloads implements Payloads {
  readonly #clock: Clock;
  readonly #faults: Faults | undefined;
  readonly #objects = new Map<string, { readonly bytes: Uint8Array; readonly storedAt: number }>();

  constructor(options: MemoryPayloadsOptions) {
    this.#clock = options.clock;
    this.#faults = options.faults;
  }

  put(key: string, bytes: Uint8Array, options?: { readonly renew?: boolean | undefined }): Promise<void> {
    return withFault(this.#faults, { verb: "put", target: key }, () => {
      if (options?.renew === true || this.#find(key) === undefined) this.overwrite(key, bytes);
    });
  }

  get(key: string): Promise<Uint8Array | undefined> {
    return withFault(this.#faults, { verb: "get", target: key }, () => this.#find(key)?.slice());
  }

  /** The keys of all objects, in order. */
  keys(): string[] {
    return [...this.#objects.keys()].filter((key) => this.#find(key) !== undefined).sort();
  }

  /** Puts other bytes in an object's place, as only a fault or an intruder would. */
  overwrite(key: string, bytes: Uint8Array): void {
    this.#objects.set(key, { bytes: bytes.slice(), storedAt: this.#clock.now() });
  }

  /** Deletes an object, as only a fault or an intruder would. */
  remove(key: string): void {
    this.#objects.delete(key);
  }

  #find(key: string): Uint8Array | undefined {
    const object = this.#objects.get(key);
    const life = LIFE_CLASSES.find(({ prefix }) => key.startsWith(`${prefix}/`));
    if (object === undefined || life === undefined) return object?.bytes;
    // Lifecycle rules count whole days, and work at the midnight after: https://docs.aws.amazon.com/AmazonS3/latest/userguide/intro-lifecycle-rules.html
    const endsAt = Math.ceil((object.storedAt + life.days * DAY_MS) / DAY_MS) * DAY_MS;
    if (this.#clock.now() < endsAt) return object.bytes;
    this.#objects.delete(key);
    return undefined;
  }
}
