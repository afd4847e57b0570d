import { describe, expect, test } from "vitest";
import { z } from "zod";
import { planOwed } from "../../lib/flow/recover-owed.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { aRecord } from "../support/sample-record.ts";
import { depthOf, purge, schedulerOf } from "../support/world-scheduler.ts";

const MINUTE_MS = 60_000;
const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }), timeout: "2h" });

/** Lets no message out for as long as the work takes. */
async function withoutSends<T>(world: FlowWorld, work: () => Promise<T>): Promise<T> {
  world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
  const result = await work();
  world.faults = undefined;
  return result;
}

const entries = (count: number): { input: { n: number } }[] =>
  Array.from({ length: count }, (_, n) => ({ input: { n } }));

describe("what is owed", () => {
  test("F21 a send that failed is sent by the next run, and only the final write ends the owing", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const now = world.clock.now();
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    expect(world.of("send-owed", task.id)).toHaveLength(1);
    expect(world.record(task.id)).toMatchObject({ state: "queued", owedAt: now, resends: 0 });

    expect(await scheduler.run()).toMatchObject({ skipped: false, owed: 1, resent: 1, buried: 0 });
    expect(world.record(task.id)).toMatchObject({ state: "queued", owedAt: now + 15 * MINUTE_MS, resends: 1 });
    expect(scheduler.resent(task.id)).toMatchObject([{ because: "owed", resends: 1 }]);

    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(world.record(task.id)).toMatchObject({ attempts: 1, resends: 0 });
    expect(world.record(task.id).owedAt).toBeUndefined();
    await world.advance("20m");
    expect(await scheduler.run()).toMatchObject({ owed: 0, resent: 0 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("far tasks are sent a few minutes ahead, and start within 5 s of their time, never before", async () => {
    const world = await flowWorld();
    const delaysMs = [901, 960, 1_201.5, 1_799.999, 3_600, 5_000.25, 10_799].map((seconds) =>
      Math.round(seconds * 1_000),
    );
    const now = world.clock.now();
    const tasks = await Promise.all(
      delaysMs.map((delay, n) => world.client.enqueue(errand, { n }, { runAt: new Date(now + delay) })),
    );
    expect(await depthOf(world)).toBe(0);
    for (const [at, { id }] of tasks.entries())
      expect(world.record(id).owedAt).toBe(now + (delaysMs[at] ?? 0) - 5 * MINUTE_MS);

    world.worker([errand.handle(() => undefined)]);
    await world.advance("4h");
    for (const [at, { id }] of tasks.entries()) {
      const started = world.of("attempt-started", id);
      expect(started).toHaveLength(1);
      const late = (started[0]?.at ?? 0) - now - (delaysMs[at] ?? 0);
      expect(late).toBeGreaterThanOrEqual(0);
      expect(late).toBeLessThanOrEqual(5_000);
      expect(world.record(id).state).toBe("succeeded");
      expect(world.of("resent", id)).toHaveLength(1);
    }
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a redrive whose message was not sent is sent by the next run", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    let mended = false;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new Error("not yet");
        }),
      ],
      { scheduler: false },
    );
    const task = await world.client.enqueue(errand, { n: 1 });
    await world.until(() => world.record(task.id).state === "dead");
    mended = true;
    await withoutSends(world, () => task.redrive());
    expect(world.record(task.id)).toMatchObject({ state: "queued", epoch: 2, owedAt: world.clock.now() });
    expect(await scheduler.run()).toMatchObject({ owed: 1, resent: 1 });
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(world.record(task.id).owedAt).toBeUndefined();
    await world.close();
  });

  test("waits 15 minutes, then twice as long each time; after five re-sends that nobody claimed the task is dead", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const start = world.clock.now();
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    for (let minute = 0; minute <= 480 && world.record(task.id).state === "queued"; minute++) {
      await scheduler.run();
      // Whoever takes the messages, it is no worker.
      await purge(world);
      await world.advance("1m");
    }
    const minuteOf = ({ at }: { at: number }): number => (at - start) / MINUTE_MS;
    expect(scheduler.resent(task.id).map(minuteOf)).toEqual([0, 15, 45, 105, 225]);
    expect(scheduler.resent(task.id).map(({ resends }) => resends)).toEqual([1, 2, 3, 4, 5]);
    expect(scheduler.dead(task.id).map(minuteOf)).toEqual([465]);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNCLAIMABLE", attempts: 0 });
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNCLAIMABLE", payload: '{"n":1}' }]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a task that waits in a lane which nobody empties is not called unclaimable, however long that takes", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    await scheduler.runEach(2 * 24 * 12, 5 * MINUTE_MS);
    expect(world.record(task.id)).toMatchObject({ state: "queued" });
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    expect(world.of("attempt-started", task.id)).toHaveLength(1);
    await world.close();
  });

  test("a claim starts the count anew", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    await scheduler.run();
    await purge(world);
    await world.advance("15m");
    await scheduler.run();
    expect(world.record(task.id).resends).toBe(2);
    let failed = false;
    world.worker(
      [
        errand.handle(() => {
          failed = !failed;
          if (failed) throw new Error("the first one fails");
        }),
      ],
      { scheduler: false },
    );
    await world.until(() => world.record(task.id).failures === 1);
    expect(world.record(task.id)).toMatchObject({ resends: 0 });
    expect(world.record(task.id).owedAt).toBeDefined();
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.close();
  });

  test("a task that runs under a live lease is waited for; once the lease is over its message is sent again", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    await scheduler.run();
    const first = world.worker(
      (host) => [
        errand.handle(async (_, ctx) => {
          if (ctx.attempt === 1) await host.pause(90 * MINUTE_MS, ctx.signal);
        }),
      ],
      { scheduler: false },
    );
    await world.until(() => world.record(task.id).state === "running");
    const sent = scheduler.resent().length;
    await scheduler.runEach(40);
    expect(scheduler.resent()).toHaveLength(sent);
    const { leaseUntil = 0, owedAt = 0 } = world.record(task.id);
    expect(owedAt).toBeGreaterThan(world.clock.now());

    first.host.kill();
    await world.advance("10m");
    expect(leaseUntil).toBeLessThan(world.clock.now());
    await purge(world);
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await scheduler.runEach(20);
    expect(scheduler.resent().length).toBe(sent + 1);
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(world.record(task.id)).toMatchObject({ attempts: 2, crashes: 1 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a crashed task that nobody takes over after five re-sends is dead too", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    await scheduler.run();
    const worker = world.worker((host) => [errand.handle((_, ctx) => host.pause(90 * MINUTE_MS, ctx.signal))], {
      scheduler: false,
    });
    await world.until(() => world.record(task.id).state === "running");
    worker.host.kill();
    for (let minute = 0; minute <= 600 && world.record(task.id).state === "running"; minute++) {
      await world.advance("1m");
      await purge(world);
      await scheduler.run();
    }
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNCLAIMABLE" });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("a run of the scheduler", () => {
  test("sends no more than its limit, and the next one goes on", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const tasks = await withoutSends(world, () => world.client.enqueueMany(errand, entries(1_200)));
    const reports = await scheduler.runEach(3, MINUTE_MS, { maxResends: 500 });
    expect(reports.map(({ resent }) => resent)).toEqual([500, 500, 200, 0]);
    expect(new Set(scheduler.resent().map(({ taskId }) => taskId)).size).toBe(1_200);
    expect(await depthOf(world)).toBe(1_200);
    expect(tasks.every(({ id }) => world.record(id).resends === 1)).toBe(true);
    await world.close();
  });

  test("stops at its time, and the next one goes on where it stopped", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await withoutSends(world, () => world.client.enqueueMany(errand, entries(1_200)));
    let queries = 0;
    world.faults = ({ verb, target }) => {
      // Dead tasks are counted beside the work.
      if (verb !== "query" || target === "dead") return undefined;
      queries++;
      world.clock.advance(10_000);
      return undefined;
    };
    const first = await scheduler.run({ maxResends: 5_000 });
    // 50 s, and one page in each 10 of them.
    expect(queries).toBe(5);
    expect(first.resent).toBeGreaterThanOrEqual(400);
    expect(first.resent).toBeLessThanOrEqual(500);
    let resent = first.resent;
    for (let run = 0; run < 6; run++) {
      await world.advance("1m");
      resent += (await scheduler.run({ maxResends: 5_000 })).resent;
    }
    expect(resent).toBe(1_200);
    expect(new Set(scheduler.resent().map(({ taskId }) => taskId)).size).toBe(1_200);
    await world.close();
  });

  test("with no time at all does nothing, and the next one does everything", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await withoutSends(world, () => world.client.enqueueMany(errand, entries(20)));
    expect(await scheduler.run({ until: world.clock.now() })).toMatchObject({ skipped: false, resent: 0 });
    expect(await scheduler.run()).toMatchObject({ skipped: true });
    await world.advance("1m");
    expect(await scheduler.run()).toMatchObject({ resent: 20 });
    await world.close();
  });

  test("that dies between send and write sends once more, and the task still runs once", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await withoutSends(world, () => world.client.enqueue(errand, { n: 1 }));
    scheduler.host.onCall = ({ verb, phase }) => {
      if (verb === "changeMany" && phase === "before") scheduler.host.kill();
    };
    // A run of a process that is killed never ends.
    void scheduler.begin();
    await world.settle();
    expect(scheduler.host.isDead).toBe(true);
    expect(await depthOf(world)).toBe(1);

    const next = schedulerOf(world, "next");
    expect(await next.run()).toMatchObject({ skipped: true });
    await world.advance("1m");
    expect(await next.run()).toMatchObject({ skipped: false, resent: 1 });
    expect(await depthOf(world)).toBe(2);
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    expect(world.of("attempt-started", task.id)).toHaveLength(1);
    expect(world.audit.commitsOf(task.id)).toBe(1);
    await world.close();
  });

  test("does not take a late index for news", async () => {
    const world = await flowWorld({ indexLagMs: 90_000 });
    const scheduler = schedulerOf(world);
    await withoutSends(world, () => world.client.enqueueMany(errand, entries(10)));
    await world.advance("2m");
    expect(await scheduler.run()).toMatchObject({ resent: 10 });
    await world.advance("1m");
    // The index still says that they are due.
    expect(await scheduler.run()).toMatchObject({ owed: 10, resent: 0 });
    await world.advance("2m");
    expect(await scheduler.run()).toMatchObject({ owed: 0, resent: 0 });
    await world.close();
  });

  test("that the ledger does not answer fails, and the next one goes on", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await withoutSends(world, () => world.client.enqueueMany(errand, entries(10)));
    world.faults = ({ verb }) => (verb === "query" ? "refused" : undefined);
    await expect(scheduler.run()).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    world.faults = undefined;
    await world.advance("1m");
    expect(await scheduler.run()).toMatchObject({ skipped: false, resent: 10 });
    await world.close();
  });

  test("two at once: one works, the other does nothing", async () => {
    const world = await flowWorld();
    const [one, other] = [schedulerOf(world, "one"), schedulerOf(world, "other")];
    await withoutSends(world, () => world.client.enqueueMany(errand, entries(10)));
    const reports = await Promise.all([one.run(), other.run()]);
    expect(reports.filter(({ skipped }) => skipped)).toHaveLength(1);
    expect(await depthOf(world)).toBe(10);
    await world.close();
  });

  test("two at once, one of which was thought dead: messages come twice, tasks run once, no cursor goes back", async () => {
    const world = await flowWorld();
    const [slow, quick] = [schedulerOf(world, "slow"), schedulerOf(world, "quick")];
    const tasks = await withoutSends(world, () => world.client.enqueueMany(errand, entries(10)));
    slow.host.onCall = ({ verb, phase }) => {
      if (verb === "send" && phase === "before") slow.host.freeze();
    };
    const late = slow.begin();
    await world.advance("2m");
    expect(await quick.run()).toMatchObject({ skipped: false, resent: 10 });
    const before = await world.backend.ledger.readDocument("scheduler");
    slow.host.onCall = undefined;
    slow.host.thaw();
    expect(await late).toMatchObject({ skipped: false });
    expect(await world.backend.ledger.readDocument("scheduler")).toEqual(before);

    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    for (const { id } of tasks) {
      expect(world.of("attempt-started", id)).toHaveLength(1);
      expect(world.audit.commitsOf(id)).toBe(1);
    }
    expect(world.audit.violations).toEqual([]);
    await world.advance("1m");
    expect(await quick.run()).toMatchObject({ skipped: false, owed: 0, resent: 0 });
    await world.close();
  });
});

describe("the decision about an owed task", () => {
  const now = Date.UTC(2026, 0, 5);
  const owed = (fields: Parameters<typeof aRecord>[0]) =>
    aRecord({ notBefore: now - 1_000, owedAt: now - 1, ...fields });

  test.each(["succeeded", "dead", "cancelled", "expired"] as const)("forgets one that is %s", (state) => {
    expect(planOwed(owed({ state }), now, true)).toEqual({ kind: "forget" });
  });

  test("forgets one whose record is over, though TTL has not removed it", () => {
    expect(planOwed(owed({ expiresAt: now }), now, true)).toEqual({ kind: "forget" });
  });

  test("waits for one that is due later, or was moved on meanwhile", () => {
    const notBefore = now + 15 * MINUTE_MS + 1;
    expect(planOwed(owed({ notBefore }), now, true)).toEqual({ kind: "wait", owedAt: notBefore - 5 * MINUTE_MS });
    expect(planOwed(owed({ owedAt: now + 7 }), now, true)).toEqual({ kind: "wait", owedAt: now + 7 });
  });

  test("sends one that comes due within the longest delay of a message", () => {
    const notBefore = now + 15 * MINUTE_MS;
    expect(planOwed(owed({ notBefore }), now, true)).toEqual({ kind: "send", owedAt: notBefore + 15 * MINUTE_MS });
  });

  test("buries after five re-sends, but only where the lane was seen empty", () => {
    expect(planOwed(owed({ resends: 4 }), now, true)).toMatchObject({ kind: "send" });
    expect(planOwed(owed({ resends: 5 }), now, true)).toEqual({ kind: "bury" });
    expect(planOwed(owed({ resends: 5 }), now, false)).toMatchObject({ kind: "send" });
  });

  test("never waits so long that the message could expire meanwhile", () => {
    const plan = planOwed(owed({ resends: 40 }), now, false);
    expect(plan).toEqual({ kind: "send", owedAt: now + 3 * 86_400_000 });
  });
});
