import type { MemoryLedger } from "../../lib/memory/memory-ledger.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { RECORD_MAX_BYTES } from "../../lib/task/limits.ts";
import { decodeRecord } from "../../lib/task/record-codec.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import { canMove, isFinal } from "../../lib/task/states.ts";

/** The verbs that write records. */
const WRITES = ["recordMany", "claimMany", "settleMany", "renewMany", "changeMany"] as const;

/**
 * Watches every record of a memory ledger, and notes whatever no fault may bring about: a move that the table of states
 * does not know, a fence that goes back, a second commit in one epoch, a takeover of a live lease, a record that outgrows its
 * write unit.
 */
export class FlowAudit {
  /** What went against the rules, in words. */
  readonly violations: string[] = [];
  readonly #ledger: MemoryLedger;
  readonly #now: () => number;
  readonly #last = new Map<string, TaskRecord>();
  readonly #commits = new Map<string, number>();

  constructor(ledger: MemoryLedger, now: () => number) {
    this.#ledger = ledger;
    this.#now = now;
  }

  /** The ledger, watched: each write is looked at once it has taken place. */
  watch(): MemoryLedger {
    return new Proxy(this.#ledger, {
      get: (target, verb) => {
        const effect: unknown = Reflect.get(target, verb);
        if (typeof effect !== "function") return effect;
        if (!(WRITES as readonly unknown[]).includes(verb)) return effect.bind(target);
        return async (writes: readonly { readonly id: string }[], ...rest: unknown[]): Promise<unknown> => {
          // One entry at a time, so that no move is missed between two looks.
          const answers = await Promise.all(
            writes.map(async (write) => {
              const answer: unknown[] = await effect.call(target, [write], ...rest);
              this.#look(write.id);
              return answer[0];
            }),
          );
          return answers;
        };
      },
    });
  }

  /** All records as they are now, by id. */
  get records(): ReadonlyMap<string, TaskRecord> {
    return this.#last;
  }

  /** How often a task reached a final state, in all its epochs. */
  commitsOf(id: string): number {
    return this.#commits.get(id) ?? 0;
  }

  #look(id: string): void {
    const item = this.#ledger.recordItem(id);
    if (item === undefined) return;
    const record = decodeRecord(item);
    const before = this.#last.get(id);
    this.#last.set(id, record);
    if (itemBytes(item) > RECORD_MAX_BYTES) this.#blame(id, `its record has ${itemBytes(item)} bytes`);
    const reborn = before === undefined || before.createdAt !== record.createdAt;
    if (reborn) {
      if (record.state !== "queued" && record.state !== "dead") this.#blame(id, `it was born as ${record.state}`);
    } else this.#compare(id, before, record);
    if (isFinal(record.state) && (reborn || !isFinal(before.state))) this.#commits.set(id, this.commitsOf(id) + 1);
  }

  #compare(id: string, before: TaskRecord, after: TaskRecord): void {
    const [from, to] = [before.state, after.state];
    if (from !== to && !canMove(from, to)) this.#blame(id, `it went from ${from} to ${to}`);
    if (after.fence < before.fence) this.#blame(id, `its fence went from ${before.fence} to ${after.fence}`);
    if (isFinal(from) && from === to && after.fence !== before.fence) this.#blame(id, `it was claimed as ${from}`);
    if (from === "running" && to === "running" && after.fence > before.fence && (before.leaseUntil ?? 0) >= this.#now())
      this.#blame(id, "it was taken over under a live lease");
    if (from === "queued" && to === "running" && before.notBefore > this.#now())
      this.#blame(id, "it was claimed early");
    if (isFinal(from) && !isFinal(to) && after.epoch !== before.epoch + 1) this.#blame(id, `it came back from ${from}`);
  }

  #blame(id: string, what: string): void {
    this.violations.push(`task ${id}: ${what}`);
  }
}
