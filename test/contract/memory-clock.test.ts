import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import { sleep } from "../../lib/ports/clock.ts";
import { moveClock } from "../support/contract-stack.ts";

describe("ManualClock", () => {
  test("stands still until it is moved", () => {
    const clock = new ManualClock(1_000);
    expect([clock.now(), clock.monotonic()]).toEqual([1_000, 0]);
    clock.advance(250);
    clock.advanceTo(1_300);
    expect([clock.now(), clock.monotonic()]).toEqual([1_300, 300]);
    expect(() => clock.advanceTo(1_299)).toThrow("OPTION_INVALID");
    expect(() => clock.advance(Number.NaN)).toThrow("OPTION_INVALID");
  });

  test("fires timers at their times, those of one time in the order in which they were set", () => {
    const clock = new ManualClock(0);
    const fired: string[] = [];
    const set = (name: string, ms: number): void => void clock.timer(ms, () => fired.push(`${name} at ${clock.now()}`));
    set("c", 30);
    set("a", 10);
    set("d", 30);
    set("b", 20);
    set("late", 31);
    set("past", -5);
    expect([clock.nextTimerAt(), clock.pending]).toEqual([0, 6]);
    clock.advance(30);
    expect(fired).toEqual(["past at 0", "a at 10", "b at 20", "c at 30", "d at 30"]);
    expect([clock.nextTimerAt(), clock.pending, clock.now()]).toEqual([31, 1, 30]);
  });

  test("fires what a callback sets on the way, and nothing that was cancelled", () => {
    const clock = new ManualClock(0);
    const fired: number[] = [];
    const tick = (): void => {
      fired.push(clock.now());
      clock.timer(10, tick);
    };
    clock.timer(10, tick);
    const unwanted = clock.timer(15, () => fired.push(-1));
    clock.timer(12, () => unwanted.cancel());
    clock.advance(35);
    expect(fired).toEqual([10, 20, 30]);
    expect(clock.pending).toBe(1);
    unwanted.cancel();
    expect(clock.pending).toBe(1);
  });

  test("keeps order and count under any timers and cancellations", () => {
    const timers = fc.array(fc.record({ ms: fc.nat(20), cancel: fc.boolean() }), { maxLength: 300 });
    fc.assert(
      fc.property(timers, (wanted) => {
        const clock = new ManualClock(0);
        const fired: [number, number][] = [];
        const set = wanted.map(({ ms }, place) => clock.timer(ms, () => fired.push([ms, place])));
        for (const [place, { cancel }] of wanted.entries()) if (cancel) set[place]?.cancel();
        const kept = wanted.flatMap(({ ms, cancel }, place): [number, number][] => (cancel ? [] : [[ms, place]]));
        expect(clock.pending).toBe(kept.length);
        clock.advance(1_000);
        expect(fired).toEqual(kept.sort((a, b) => a[0] - b[0] || a[1] - b[1]));
        expect([clock.pending, clock.nextTimerAt()]).toEqual([0, undefined]);
      }),
    );
  });

  test("drives a loop that sleeps, step by step", async () => {
    const clock = new ManualClock(0);
    const woken: number[] = [];
    const loop = (async () => {
      while (woken.length < 4) {
        await sleep(clock, 1_000);
        woken.push(clock.now());
      }
    })();
    await moveClock(clock, 10_000);
    await loop;
    expect(woken).toEqual([1_000, 2_000, 3_000, 4_000]);
    expect(clock.now()).toBe(10_000);
  });
});

describe("seededRandom", () => {
  test("repeats for a seed, and differs for another", () => {
    const draw = (seed: number): unknown[] => {
      const random = seededRandom(seed);
      return [random.next(), random.id(1_000), random.token(), random.next()];
    };
    expect(draw(7)).toEqual(draw(7));
    const all = Array.from({ length: 500 }, (_, seed) => String(draw(seed)));
    expect(new Set(all).size).toBe(500);
  });

  test("draws evenly from [0, 1)", () => {
    const random = seededRandom(42);
    const values = Array.from({ length: 100_000 }, () => random.next());
    expect(values.every((value) => value >= 0 && value < 1)).toBe(true);
    const counts = Array.from(
      { length: 10 },
      (_, tenth) => values.filter((value) => Math.floor(value * 10) === tenth).length,
    );
    for (const count of counts) expect(Math.abs(count - 10_000)).toBeLessThan(600);
  });

  test("makes ids that sort by time, and tokens fit for a URL, none of them twice", () => {
    const random = seededRandom(1);
    const now = Date.UTC(2026, 5, 1);
    const ids = Array.from({ length: 2_000 }, (_, step) => random.id(now + step));
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
    expect([...ids].sort()).toEqual(ids);
    expect(Number.parseInt(ids[0]?.slice(0, 12) ?? "", 16)).toBe(now);
    const tokens = Array.from({ length: 2_000 }, () => random.token());
    for (const token of tokens) expect(token).toMatch(/^[A-Za-z0-9_-]{16}$/);
    expect(new Set([...tokens, ...ids.map((id) => id.slice(12))]).size).toBe(4_000);
  });
});
