import type { Backend } from "../../lib/ports/backend.ts";
import type { Clock, Timer } from "../../lib/ports/clock.ts";
import type { ReceiveOptions } from "../../lib/ports/queue.ts";

/** One call that a process makes to a store, and whether it is about to leave or its answer has come. */
export interface HostCall {
  readonly verb: string;
  /** Counts the calls of this process, from 0. */
  readonly number: number;
  readonly phase: "before" | "after";
}

const NEVER = new Promise<never>(() => undefined);

/**
 * A process that a test can kill or stop. It sees time and the stores through itself: once it is killed, no timer of it
 * fires and no call of it begins or is answered; while it is stopped they wait until it goes on.
 */
export class FlowHost {
  readonly clock: Clock;
  /** Looks at each call, and may kill. */
  onCall: ((call: HostCall) => void) | undefined;
  readonly #death = new AbortController();
  #stopped: { readonly over: Promise<void>; end(): void } | undefined;
  #calls = 0;

  constructor(clock: Clock) {
    this.clock = {
      now: () => clock.now(),
      monotonic: () => clock.monotonic(),
      timer: (ms, callback) => this.#timer(clock, ms, callback),
    };
  }

  get isDead(): boolean {
    return this.#death.signal.aborted;
  }

  /** Ends the process between two of its steps, as SIGKILL does. */
  kill(): void {
    this.#death.abort();
  }

  /** Stops the process with everything in it, as SIGSTOP does. */
  freeze(): void {
    if (this.#stopped !== undefined) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#stopped = { over: promise, end: resolve };
  }

  /** Lets the process go on, as SIGCONT does. */
  thaw(): void {
    this.#stopped?.end();
    this.#stopped = undefined;
  }

  /** What a handler waits for in place of real work. It never ends in a process that was killed. */
  pause(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      const timer = this.clock.timer(ms, resolve);
      signal?.addEventListener(
        "abort",
        () => {
          timer.cancel();
          resolve();
        },
        { once: true },
      );
    });
  }

  /** The stores as this process reaches them. */
  reach(backend: Backend): Backend {
    return {
      topology: backend.topology,
      queue: this.#gate(backend.queue),
      ledger: this.#gate(backend.ledger),
      payloads: this.#gate(backend.payloads),
      close: () => undefined,
    };
  }

  #timer(clock: Clock, ms: number, callback: () => void): Timer {
    let cancelled = false;
    const fire = async (): Promise<void> => {
      await this.#stopped?.over;
      if (!cancelled && !this.isDead) callback();
    };
    const timer = clock.timer(ms, () => {
      if (this.isDead) return;
      if (this.#stopped === undefined) callback();
      else void fire();
    });
    return {
      cancel: () => {
        cancelled = true;
        timer.cancel();
      },
    };
  }

  #gate<Port extends object>(port: Port): Port {
    return new Proxy(port, {
      get: (target, verb) => {
        const effect: unknown = Reflect.get(target, verb);
        if (typeof effect !== "function") return effect;
        return async (...given: unknown[]): Promise<unknown> => {
          const number = this.#calls++;
          await this.#pass({ verb: String(verb), number, phase: "before" });
          const answer = await Promise.resolve(effect.apply(target, this.#mortal(String(verb), given))).then(
            (value: unknown) => ({ value }),
            (error: unknown) => ({ error }),
          );
          await this.#pass({ verb: String(verb), number, phase: "after" });
          if ("error" in answer) throw answer.error;
          return answer.value;
        };
      },
    });
  }

  /** A process that is killed hangs up: nothing is delivered to its long polls any more. */
  #mortal(verb: string, given: unknown[]): unknown[] {
    if (verb !== "receive") return given;
    const options = given[1] as ReceiveOptions;
    const signals = options.signal === undefined ? [this.#death.signal] : [options.signal, this.#death.signal];
    return [given[0], { ...options, signal: AbortSignal.any(signals) }];
  }

  async #pass(call: HostCall): Promise<void> {
    if (this.isDead) return NEVER;
    if (this.#stopped !== undefined) await this.#stopped.over;
    this.onCall?.(call);
    if (this.isDead) await NEVER;
  }
}
