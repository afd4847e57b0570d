import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { SlotDecision } from "../../lib/control/rate-limit.ts";
import { RateLimiter, slotAt } from "../../lib/control/rate-limit.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { MemoryCall } from "../../lib/memory/memory-faults.ts";
import { MemoryLedger } from "../../lib/memory/memory-ledger.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import type { RateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { RATE_LIMIT_HORIZON_MS } from "../../lib/task/limits.ts";
import type { RateBreach } from "../support/rate-property.ts";
import { worstBreach } from "../support/rate-property.ts";

type Slot = Extract<SlotDecision, { kind: "slot" }>;

/** A slot as a worker got it. */
interface Granted {
  readonly slot: Slot;
  /** When it was handed out: nothing starts before. */
  readonly at: number;
  readonly key: string;
}

const slotsOf = (decisions: readonly SlotDecision[]): Slot[] =>
  decisions.filter((decision): decision is Slot => decision.kind === "slot");

const limits: fc.Arbitrary<RateLimit> = fc
  .record({
    limit: fc.oneof(fc.integer({ min: 1, max: 40 }), fc.constantFrom(0.5, 1.7, 333, 900, 2_500, 7_001)),
    per: fc.constantFrom("1s" as const, "10s" as const, "1m" as const),
    burst: fc.oneof(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 60 })),
  })
  .map((options) => defineRateLimit({ name: "supplier", ...options }));

type Step =
  | { readonly kind: "pass"; readonly ms: number }
  | { readonly kind: "reserve"; readonly worker: number; readonly key: string; readonly count: number };

const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.oneof(
    fc.record({
      kind: fc.constant("pass" as const),
      ms: fc.oneof(fc.integer({ min: 1, max: 400 }), fc.integer({ min: 1, max: 90_000 })),
    }),
    fc.record({
      kind: fc.constant("reserve" as const),
      worker: fc.nat(2),
      key: fc.constantFrom("", "", "", "a", "b"),
      count: fc.integer({ min: 1, max: 10 }),
    }),
  ),
  { minLength: 5, maxLength: 40 },
);

/** Runs steps by three workers' limiters on one ledger, and answers every slot that was handed out. */
async function play(limit: RateLimit, plan: readonly Step[], scheduler?: fc.Scheduler): Promise<Granted[]> {
  const clock = new ManualClock();
  const held = (call: MemoryCall): undefined | Promise<undefined> =>
    scheduler === undefined || call.verb !== "reserve" ? undefined : scheduler.schedule(Promise.resolve(undefined));
  const ledger = new MemoryLedger({ clock, faults: held });
  const workers = [1, 2, 3].map((seed) => new RateLimiter(ledger, clock, seededRandom(seed)));
  const granted: Granted[] = [];
  const asked: Promise<void>[] = [];
  for (const step of plan) {
    if (step.kind === "pass") {
      if (scheduler !== undefined && scheduler.count() > 0) await scheduler.waitOne();
      clock.advance(step.ms);
      continue;
    }
    const { worker, key, count } = step;
    const answer = workers[worker]?.reserve(limit, key, count).then((decisions) => {
      for (const slot of slotsOf(decisions)) granted.push({ slot, at: clock.now(), key });
    });
    if (answer === undefined) throw new Error("no such worker");
    if (scheduler === undefined) await answer;
    else asked.push(answer);
  }
  if (scheduler !== undefined) await scheduler.waitAll();
  await Promise.all(asked);
  return granted;
}

/** When a slot's start comes, if it may still come at all, given how much of its window a worker lets pass. */
function startIn({ slot, at }: Granted, share: number): number | undefined {
  const first = Math.max(slot.startMs, at);
  const last = slot.endMs - 1;
  return first > last ? undefined : Math.floor(first + (last - first) * share);
}

/** Starts as close to one moment as each slot allows: the worst that workers together can do. */
function crowdAt(granted: readonly Granted[], moment: number): number[] {
  return granted.flatMap((each) => {
    const first = startIn(each, 0);
    const last = startIn(each, 1);
    return first === undefined || last === undefined ? [] : [Math.max(first, Math.min(last, moment))];
  });
}

/** Looks for a choice of starts that goes against the limit: by given shares, at the ends of each window, and crowded together. */
function breachIn(granted: readonly Granted[], limit: RateLimit, shares: readonly number[]): RateBreach | undefined {
  for (const key of new Set(granted.map((each) => each.key))) {
    const mine = granted.filter((each) => each.key === key);
    const choices = [shares, [0], [1], [1, 0]].map((chosen) =>
      mine.flatMap((each, at) => startIn(each, chosen[at % chosen.length] ?? 0) ?? []),
    );
    const moments = mine.flatMap(({ slot }) => [slot.startMs, slot.endMs - 1]).slice(0, 60);
    for (const starts of [...choices, ...moments.map((moment) => crowdAt(mine, moment))]) {
      const breach = worstBreach(starts, limit);
      if (breach !== undefined) return breach;
    }
  }
  return undefined;
}

describe("F28 the slots of a rate limit", () => {
  test("allow no choice of starts beyond burst + rate × time, in whatever order workers reserve", async () => {
    await fc.assert(
      fc.asyncProperty(
        limits,
        steps,
        fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { minLength: 1, maxLength: 9 }),
        async (limit, plan, shares) => {
          expect(breachIn(await play(limit, plan), limit, shares)).toBeUndefined();
        },
      ),
      { numRuns: 250, seed: 20_261_124 },
    );
  });

  test("hold that also while reservations overtake each other", async () => {
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), limits, steps, async (scheduler, limit, plan) => {
        const granted = await play(limit, plan, scheduler);
        expect(breachIn(granted, limit, [0.5])).toBeUndefined();
      }),
      { numRuns: 150, seed: 20_261_124 },
    );
  });

  test("are handed out once, at most a minute ahead, and each is good for some time", async () => {
    await fc.assert(
      fc.asyncProperty(limits, steps, async (limit, plan) => {
        const granted = await play(limit, plan);
        for (const key of new Set(granted.map((each) => each.key))) {
          const mine = granted.filter((each) => each.key === key);
          // Above 1,000 a second several buckets run side by side, and their slots may fall together.
          const isSplit = (limit.limit * 1_000) / limit.perMs > 1_000;
          const slots = new Set(mine.map(({ slot }) => slot.slotUs)).size;
          expect(slots === mine.length || isSplit).toBe(true);
        }
        for (const { slot, at } of granted) {
          expect(slot.startMs).toBeLessThanOrEqual(at + RATE_LIMIT_HORIZON_MS + 1);
          expect(slot.endMs).toBeGreaterThan(slot.startMs);
          expect(slot.endMs).toBeGreaterThan(at);
        }
      }),
      { numRuns: 150, seed: 20_261_124 },
    );
  });

  test.each([
    { limit: 20, per: "1s", burst: 10, share: 1 },
    { limit: 1, per: "1s", burst: 2, share: 1 },
    { limit: 5_000, per: "1s", burst: 5_000, share: 0.99 },
    { limit: 1, per: "1s", burst: 1, share: 0.9 },
    { limit: 6, per: "1m", burst: 1, share: 0.95 },
    { limit: 20, per: "1s", burst: 1, share: 0.8 },
  ] as const)("give a busy limit its rate: $limit per $per, burst $burst", async ({ share, ...options }) => {
    const limit = defineRateLimit({ name: "supplier", ...options });
    const clock = new ManualClock();
    const ledger = new MemoryLedger({ clock });
    const limiter = new RateLimiter(ledger, clock, seededRandom(1));
    const start = clock.now();
    let used = 0;
    const spanMs = 120_000;
    for (; clock.now() < start + spanMs; clock.advance(limit.perMs / limit.limit > 1_000 ? 1_000 : 250))
      for (const { startMs } of slotsOf(await limiter.reserve(limit, "", limit.limit > 1_000 ? 2_000 : 10)))
        if (startMs < start + spanMs) used++;
    expect(used).toBeGreaterThanOrEqual(Math.floor((share * (limit.limit * spanMs)) / limit.perMs) - 1);
    expect(used).toBeLessThanOrEqual(limit.burst + (limit.limit * spanMs) / limit.perMs);
  });

  test("credit a quiet time with a burst, and no more", async () => {
    const limit = defineRateLimit({ name: "supplier", limit: 10, burst: 10 });
    const clock = new ManualClock();
    const limiter = new RateLimiter(new MemoryLedger({ clock }), clock, seededRandom(1));
    clock.advance(3_600_000);
    const slots = slotsOf(await limiter.reserve(limit, "", 10));
    const atOnce = slots.filter(({ startMs }) => startMs <= clock.now()).length;
    expect(atOnce).toBeGreaterThanOrEqual(4);
    expect(atOnce).toBeLessThanOrEqual(10);
    expect(slots).toHaveLength(10);
  });

  test("are apart for each key", async () => {
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "1m", burst: 1 });
    const clock = new ManualClock();
    const limiter = new RateLimiter(new MemoryLedger({ clock }), clock, seededRandom(1));
    for (const key of ["a", "b", "c"]) {
      const [first, second] = await limiter.reserve(limit, key, 2);
      expect(first).toMatchObject({ kind: "slot" });
      expect((first as Slot).startMs - clock.now()).toBeLessThan(100);
      expect(second?.kind === "later" || (second?.kind === "slot" && second.startMs > clock.now() + 50_000)).toBe(true);
    }
  });

  test("are reserved for a whole batch by one call, and a refusal is remembered until the bucket has slots again", async () => {
    const limit = defineRateLimit({ name: "supplier", limit: 1, per: "1s", burst: 2 });
    const clock = new ManualClock();
    let calls = 0;
    const faults = ({ verb }: MemoryCall): undefined => {
      if (verb === "reserve") calls++;
    };
    const limiter = new RateLimiter(new MemoryLedger({ clock, faults }), clock, seededRandom(1));
    const first = await limiter.reserve(limit, "", 100);
    expect(calls).toBe(1);
    const granted = slotsOf(first).length;
    expect(granted).toBeGreaterThanOrEqual(60);
    expect(granted).toBeLessThanOrEqual(62);
    const later = first.filter((decision) => decision.kind === "later");
    expect(later).toHaveLength(100 - granted);
    for (let ask = 0; ask < 50; ask++)
      expect(await limiter.reserve(limit, "", 3)).toMatchObject([
        { kind: "later" },
        { kind: "later" },
        { kind: "later" },
      ]);
    expect(calls).toBe(1);
    // Another key was not refused.
    expect(slotsOf(await limiter.reserve(limit, "other", 1))).toHaveLength(1);
    expect(calls).toBe(2);
    const next = later[0]?.nextMs ?? 0;
    expect(next).toBeGreaterThan(clock.now() + RATE_LIMIT_HORIZON_MS);
    clock.advanceTo(Math.ceil(next - RATE_LIMIT_HORIZON_MS) + 1);
    expect(slotsOf(await limiter.reserve(limit, "", 3)).length).toBeGreaterThanOrEqual(1);
    expect(calls).toBe(3);
  });

  test("of more than a thousand a second come from several buckets, which together keep to the limit", async () => {
    const limit = defineRateLimit({ name: "supplier", limit: 4_500, burst: 1_000 });
    const clock = new ManualClock();
    const buckets = new Map<string, number>();
    const faults = ({ verb, target }: MemoryCall): undefined => {
      if (verb === "reserve") buckets.set(target, (buckets.get(target) ?? 0) + 1);
    };
    const ledger = new MemoryLedger({ clock, faults });
    const limiters = [1, 2, 3].map((seed) => new RateLimiter(ledger, clock, seededRandom(seed)));
    const granted: Granted[] = [];
    for (let round = 0; round < 300; round++) {
      const limiter = limiters[round % 3];
      for (const slot of slotsOf((await limiter?.reserve(limit, "", 10)) ?? []))
        granted.push({ slot, at: clock.now(), key: "" });
      if (round % 5 === 4) clock.advance(1);
    }
    expect(buckets.size).toBe(5);
    expect(breachIn(granted.slice(0, 1_500), limit, [0, 1])).toBeUndefined();
  });

  test("wait for those who may not start yet: none is over by then", async () => {
    const limit = defineRateLimit({ name: "supplier", limit: 10, burst: 10 });
    const clock = new ManualClock();
    const limiter = new RateLimiter(new MemoryLedger({ clock }), clock, seededRandom(1));
    clock.advance(60_000);
    const from = clock.now() + 1_900;
    for (const { endMs } of slotsOf(await limiter.reserve(limit, "", 5, from))) expect(endMs).toBeGreaterThan(from);
  });
});

describe("F27 the time of a bucket", () => {
  /** A clock that is off by so much. */
  const skewed = (clock: Clock, bySkewMs: () => number): Clock => ({
    now: () => clock.now() + bySkewMs(),
    monotonic: () => clock.monotonic(),
    timer: (ms, callback) => clock.timer(ms, callback),
  });

  test("never goes back, however the workers' clocks differ or jump", async () => {
    await fc.assert(
      fc.asyncProperty(
        limits.filter(({ limit, perMs }) => (limit * 1_000) / perMs <= 1_000),
        fc.array(
          fc.record({
            worker: fc.nat(2),
            count: fc.integer({ min: 1, max: 5 }),
            passMs: fc.integer({ min: 0, max: 20_000 }),
            jump: fc.option(fc.constantFrom(-3_600_000, -5_000, 5_000, 3_600_000), { freq: 6 }),
          }),
          { minLength: 5, maxLength: 40 },
        ),
        async (limit, plan) => {
          const clock = new ManualClock();
          const ledger = new MemoryLedger({ clock });
          const skews = [0, -5_000, 5_000];
          const limiters = skews.map(
            (_, worker) =>
              new RateLimiter(
                ledger,
                skewed(clock, () => skews[worker] ?? 0),
                seededRandom(worker + 1),
              ),
          );
          let last = Number.NEGATIVE_INFINITY;
          const { slotUs: one } = slotAt(limit, 0);
          expect(one).toBe(0);
          for (const { worker, count, passMs, jump } of plan) {
            if (jump !== null) skews[worker] = jump;
            for (const { slotUs } of slotsOf((await limiters[worker]?.reserve(limit, "", count)) ?? [])) {
              expect(slotUs - last).toBeGreaterThanOrEqual(Math.floor((limit.perMs * 1_000) / limit.limit));
              last = slotUs;
            }
            clock.advance(passMs);
          }
        },
      ),
      { numRuns: 150, seed: 20_261_124 },
    );
  });
});
