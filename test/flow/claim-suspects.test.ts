import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld, WorldWorker } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }), timeout: "10m" });
const pill = defineTask({ name: "pill", input: z.object({}), maxCrashes: 3, timeout: "10m" });

const LEASE_MS = 30_000;
const SKEW_MS = 5_000;
/** A lease and the tolerated skew, until the message is seen again and the claim is made. */
const TAKEOVER_MAX_MS = LEASE_MS + SKEW_MS + 3_000;

/** Handlers of a process that the pill kills a moment after it has started. */
function handlersWithPill(host: FlowHost, takesMs = 20_000): TaskHandler[] {
  return [
    plain.handle((_input, ctx) => host.pause(takesMs, ctx.signal)),
    pill.handle(async () => {
      await host.pause(500);
      host.kill();
      await host.pause(1);
    }),
  ];
}

/** Keeps workers at it: a new one takes the place of each that dies. */
async function runSupervised(world: FlowWorld, count: number, isOver: () => boolean): Promise<WorldWorker[]> {
  const all: WorldWorker[] = [];
  for (;;) {
    const alive = all.filter(({ host }) => !host.isDead).length;
    for (let missing = count - alive; missing > 0; missing--)
      all.push(world.worker((host) => handlersWithPill(host), { scheduler: false }));
    await world.until(() => isOver() || all.filter(({ host }) => !host.isDead).length < count, "30m");
    if (isOver()) return all;
    await world.advance("1s");
  }
}

/** How many other handlers a process ran while one of a task did. */
function companions(worker: WorldWorker, id: string): number {
  const running = new Set<string>();
  let most = 0;
  for (const event of worker.events) {
    if (event.type === "attempt-started") running.add(event.taskId);
    if (event.type === "attempt-ended") running.delete(event.taskId);
    if (running.has(id)) most = Math.max(most, running.size - 1);
  }
  return most;
}

describe("a task whose worker died", () => {
  test("F08 is taken over once its lease and the tolerated skew are over, and not before", async () => {
    const world = await flowWorld();
    const first = world.worker((host) => handlersWithPill(host, 60_000), { scheduler: false });
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    const claimedAt = world.record(task.id).startedAt ?? 0;
    first.host.kill();
    const second = world.worker((host) => handlersWithPill(host, 1_000), { scheduler: false });
    await world.until(() => second.events.some(({ type }) => type === "attempt-started"), "5m");
    const waited = world.clock.now() - claimedAt;
    expect(waited).toBeGreaterThan(LEASE_MS + SKEW_MS);
    expect(waited).toBeLessThanOrEqual(TAKEOVER_MAX_MS);
    await world.advance("2s");
    expect(await task.get()).toMatchObject({
      state: "succeeded",
      attempts: 2,
      crashes: 1,
      failures: 0,
      history: [{ attempt: 1, outcome: "crash", code: "CRASHED" }],
    });
    expect(world.of("crash-detected", task.id)).toMatchObject([{ crashes: 1 }]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("F08 is not taken over while its lease is renewed, however long it runs", async () => {
    const world = await flowWorld();
    world.worker((host) => handlersWithPill(host, 8 * 60_000));
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    const second = world.worker((host) => handlersWithPill(host));
    await world.advance("9m");
    expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    expect(second.events.filter(({ type }) => type === "attempt-started")).toEqual([]);
    await world.close();
  });
});

describe("suspects", () => {
  test("F09 a pill dies after maxCrashes, and its neighbours lose one crash at most and succeed", async () => {
    const world = await flowWorld();
    const killer = await world.client.enqueue(pill, {});
    const others = await world.client.enqueueMany(
      plain,
      Array.from({ length: 8 }, (_, n) => ({ input: { n } })),
    );
    const isOver = (): boolean =>
      world.record(killer.id).state === "dead" && others.every(({ id }) => world.record(id).state === "succeeded");
    const workers = await runSupervised(world, 1, isOver);
    expect(await killer.get()).toMatchObject({ state: "dead", reason: "CRASHED", crashes: 3 });
    expect(world.of("attempt-started", killer.id)).toHaveLength(3);
    for (const { id } of others) {
      expect(world.record(id)).toMatchObject({ state: "succeeded", failures: 0 });
      expect(world.record(id).crashes).toBeLessThanOrEqual(1);
      expect(world.of("attempt-started", id).length).toBeLessThanOrEqual(2);
    }
    // Its first start had neighbours; each later one had none.
    const companies = workers.map((worker) => companions(worker, killer.id)).filter((_, at) => at > 0);
    expect(Math.max(...companies)).toBe(0);
    expect(workers.filter(({ host }) => host.isDead)).toHaveLength(3);
    await world.close();
  });

  test("F09 a pill dies among two workers too, and takes no neighbour with it", async () => {
    const world = await flowWorld({ seed: 5 });
    const killer = await world.client.enqueue(pill, {});
    const others = await world.client.enqueueMany(
      plain,
      Array.from({ length: 12 }, (_, n) => ({ input: { n } })),
    );
    const isOver = (): boolean =>
      world.record(killer.id).state === "dead" && others.every(({ id }) => world.record(id).state === "succeeded");
    await runSupervised(world, 2, isOver);
    expect(world.of("attempt-started", killer.id)).toHaveLength(3);
    for (const { id } of others) expect(world.record(id).crashes).toBeLessThanOrEqual(1);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("are put back with jitter where there are more than one, and the one that was passed over goes first", async () => {
    const world = await flowWorld();
    const first = world.worker((host) => handlersWithPill(host, 60_000), { scheduler: false });
    const tasks = await world.client.enqueueMany(
      plain,
      Array.from({ length: 4 }, (_, n) => ({ input: { n } })),
    );
    await world.advance("1s");
    first.host.kill();
    const second = world.worker((host) => handlersWithPill(host, 5_000), { scheduler: false });
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"), "10m");
    for (const { id } of tasks) {
      expect(companions(second, id)).toBe(0);
      expect(world.record(id)).toMatchObject({ attempts: 2, crashes: 1 });
    }
    const passedOver = world.of("deferred").filter(({ reason }) => reason === "suspect");
    expect(passedOver.length).toBeGreaterThan(0);
    expect(new Set(passedOver.map(({ delayMs }) => delayMs)).size).toBe(passedOver.length);
    for (const { delayMs } of passedOver) expect(delayMs).toBeLessThanOrEqual(1_000 + LEASE_MS);
    expect(world.calls.filter(({ verb, entry }) => verb === "send" && entry?.includes('"s":1'))).not.toEqual([]);
    await world.close();
  });

  test("wait until nothing else runs here, and nothing else starts meanwhile", async () => {
    const world = await flowWorld();
    const first = world.worker((host) => handlersWithPill(host, 60_000), { scheduler: false });
    const suspect = await world.client.enqueue(plain, { n: 0 });
    await world.advance("1s");
    first.host.kill();
    const second = world.worker(
      (host) => [plain.handle(({ n }, ctx) => host.pause(n === 1 ? 40_000 : 10_000, ctx.signal))],
      { scheduler: false },
    );
    await world.advance("20s");
    // It runs when the suspect comes, at 36 s, and until second 61.
    await world.client.enqueue(plain, { n: 1 });
    await world.advance("20s");
    const late = await world.client.enqueue(plain, { n: 2 });
    await world.until(() => world.record(late.id).state === "succeeded", "10m");
    expect(companions(second, suspect.id)).toBe(0);
    const order = second.events.flatMap((event) => (event.type === "attempt-started" ? [event.taskId] : []));
    expect(order.indexOf(late.id)).toBeGreaterThan(order.indexOf(suspect.id));
    await world.close();
  });

  test("neither wait for hours of another task, nor keep a worker for hours of their own", async () => {
    const world = await flowWorld();
    const long = defineTask({ name: "long", input: z.object({}), timeout: "2h" });
    const handlers = (host: FlowHost) => [
      long.handle((_input, ctx) => host.pause(3_600_000, ctx.signal)),
      plain.handle((_input, ctx) => host.pause(5_000, ctx.signal)),
    ];
    const first = world.worker(handlers, { scheduler: false });
    const suspects = [await world.client.enqueue(plain, { n: 0 }), await world.client.enqueue(long, {})];
    await world.advance("1s");
    first.host.kill();
    world.worker(handlers, { scheduler: false });
    const busy = await world.client.enqueue(long, {});
    await world.advance("5s");
    expect(world.record(busy.id).state).toBe("running");
    // A plain task of somebody else's is not held up by all of this.
    const other = await world.client.enqueue(plain, { n: 1 });
    await world.until(() => world.record(other.id).state === "succeeded", "10m");
    await world.until(() => suspects.every(({ id }) => world.record(id).state === "succeeded"), "12h");
    for (const { id } of suspects) expect(world.record(id)).toMatchObject({ attempts: 2, crashes: 1 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("are alone too where their message was put back often before they crashed, for a rate limit or a full worker", async () => {
    const world = await flowWorld();
    const suspect = await world.client.enqueue(plain, { n: 0 });
    const [message] = await world.take("normal", 60_000);
    await world.backend.queue.acknowledge({ lane: "normal" }, [message?.receipt ?? ""]);
    const body = JSON.stringify({ ...JSON.parse(message?.body ?? ""), d: 40 });
    await world.backend.queue.send({ lane: "normal" }, [{ body }]);
    const first = world.worker((host) => handlersWithPill(host, 60_000), { scheduler: false });
    await world.advance("1s");
    expect(world.record(suspect.id).state).toBe("running");
    first.host.kill();
    const second = world.worker((host) => handlersWithPill(host, 10_000), { scheduler: false });
    await world.advance("30s");
    await world.client.enqueueMany(plain, [{ input: { n: 1 } }, { input: { n: 2 } }]);
    await world.until(() => world.record(suspect.id).state === "succeeded", "10m");
    expect(companions(second, suspect.id)).toBe(0);
    expect(world.record(suspect.id)).toMatchObject({ attempts: 2, crashes: 1 });
    await world.close();
  });

  test("that crash no more count their crash once, and go on as they were", async () => {
    const world = await flowWorld();
    const first = world.worker((host) => handlersWithPill(host, 60_000), { scheduler: false });
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    first.host.kill();
    let attempts = 0;
    world.worker(
      [
        plain.handle(() => {
          if (++attempts < 3) throw new Error("an honest failure");
        }),
      ],
      { scheduler: false },
    );
    await world.until(() => world.record(task.id).state === "succeeded", "10m");
    expect(world.record(task.id)).toMatchObject({ attempts: 4, crashes: 1, failures: 2 });
    await world.close();
  });
});

describe("a process that stalls", () => {
  test.each([40_000, 90_000, 300_000])(
    "F03 F04 for %i ms, longer than its lease, commits nothing, makes no child and shows no progress",
    async (stallMs) => {
      const child = defineTask({ name: "child", input: z.object({ by: z.string() }) });
      const work = defineTask({
        name: "work",
        input: z.object({}),
        output: z.object({ by: z.string() }),
        timeout: "10m",
      });
      for (const staleDelete of ["keeps", "removes"] as const) {
        const world = await flowWorld({ staleDelete });
        const signals: AbortSignal[] = [];
        const stalling = (by: string) => (host: FlowHost) => [
          work.handle(async (_input, ctx) => {
            signals.push(ctx.signal);
            await host.pause(by === "zombie" ? 10_000 : 30_000, by === "zombie" ? undefined : ctx.signal);
            await ctx.progress(by);
            await ctx.enqueue(child, { by }).catch(() => undefined);
            return { by };
          }),
          child.handle(() => undefined),
        ];
        const zombie = world.worker(stalling("zombie"), { scheduler: false });
        const task = await world.client.enqueue(work, {});
        await world.advance("5s");
        zombie.host.freeze();
        await world.advance("1s");
        const heir = world.worker(stalling("heir"), { scheduler: true });
        await world.advance(stallMs);
        zombie.host.thaw();
        await world.until(() => world.record(task.id).state === "succeeded", "20m");
        await world.advance("1m");
        expect(await task.result()).toEqual({ by: "heir" });
        expect(await task.get()).toMatchObject({ progress: "heir", crashes: 1, attempts: 2 });
        const children = [...world.audit.records.values()].filter((record) => record.task === "child");
        expect(children.map(({ input }) => input)).toEqual([{ at: "record", json: '{"by":"heir"}' }]);
        expect(world.audit.commitsOf(task.id)).toBe(1);
        expect(world.audit.violations).toEqual([]);
        expect(signals[0]?.aborted).toBe(true);
        expect(signals[0]?.reason).toMatchObject({ code: "LEASE_LOST" });
        expect(heir.events.filter(({ type }) => type === "lease-lost")).toEqual([]);
        const { visible, delayed } = await world.backend.queue.depth({ lane: "normal" });
        expect(visible + delayed).toBe(0);
        await world.close();
      }
    },
  );

  test("F03 for less than its lease loses nothing, and commits", async () => {
    const world = await flowWorld();
    const worker = world.worker((host) => handlersWithPill(host, 20_000));
    world.worker((host) => handlersWithPill(host, 20_000));
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    worker.host.freeze();
    await world.advance("25s");
    worker.host.thaw();
    await world.advance("30s");
    expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    await world.close();
  });
});
