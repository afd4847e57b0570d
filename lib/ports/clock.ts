/** Time, as everything in Tasklane sees it: real in production, moved by hand in tests and in the simulator. */
export interface Clock {
  /** Wall clock, in milliseconds since 1970. Shared between processes up to some skew. */
  now(): number;
  /** Milliseconds that only grow, for spans within one process. */
  monotonic(): number;
  /** Calls back once after so many milliseconds, unless cancelled. */
  timer(ms: number, callback: () => void): Timer;
}

/** A pending callback. */
export interface Timer {
  cancel(): void;
}

/** Chance, as everything in Tasklane sees it: seeded in tests and in the simulator. */
export interface Random {
  /** A number in [0, 1). */
  next(): number;
  /** A new sortable id of 32 hexadecimal digits: time first, then chance. */
  id(now: number): string;
  /** A new token that no other write carries: 16 characters or so. */
  token(): string;
}

/** Waits so many milliseconds, or until the signal aborts; it resolves either way. */
export function sleep(clock: Clock, ms: number, signal?: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal?.aborted) return resolve();
    const done = () => {
      timer.cancel();
      signal?.removeEventListener("abort", done);
      resolve();
    };
    const timer = clock.timer(ms, done);
    signal?.addEventListener("abort", done, { once: true });
  });
}

/** Waits for something, but no longer than so many milliseconds; it resolves either way. */
export async function waitAtMost(clock: Clock, done: Promise<void>, ms: number): Promise<void> {
  const early = new AbortController();
  await Promise.race([done, sleep(clock, ms, early.signal)]);
  early.abort();
}

/**
 * What a promise comes to, or the error that `late` makes if that takes longer than so many milliseconds. What it comes to after that
 * is nobody's concern.
 */
export async function within<Result>(
  clock: Clock,
  promise: Promise<Result>,
  ms: number,
  late: () => Error,
): Promise<Result> {
  promise.catch(() => undefined);
  const early = new AbortController();
  const inTime = promise.then((result) => ({ result }));
  const tooLate = sleep(clock, ms, early.signal).then(() => undefined);
  const first = await Promise.race([inTime, tooLate]).finally(() => early.abort());
  if (first === undefined) throw late();
  return first.result;
}
