import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { ListOptions } from "../../lib/flow/list.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import type { TaskDetails } from "../../lib/task/task-ref.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const DAY_MS = 86_400_000;
const good = defineTask({ name: "good", input: z.object({ n: z.number() }), retention: "60d" });
const bad = defineTask({ name: "bad", input: z.object({ n: z.number() }), retention: "60d", maxLifetime: "60d" });

const entries = (count: number): { input: { n: number } }[] =>
  Array.from({ length: count }, (_, n) => ({ input: { n } }));

function workerOf(world: FlowWorld): { stop(): void } {
  return world.worker(
    [
      good.handle(() => undefined),
      bad.handle(() => {
        throw new TerminalError("bad it is");
      }),
    ],
    { scheduler: false },
  );
}

async function listed(world: FlowWorld, options?: ListOptions): Promise<TaskDetails[]> {
  const found: TaskDetails[] = [];
  for await (const task of world.client.list(options)) found.push(task);
  return found;
}

const idsOf = (tasks: readonly { id: string }[]): string[] => tasks.map(({ id }) => id).sort();

describe("the list of the dead", () => {
  test("has every dead task, page after page, from an index of their own", async () => {
    const world = await flowWorld();
    workerOf(world);
    const dead = await world.client.enqueueMany(bad, entries(450));
    await world.client.enqueueMany(good, entries(200));
    await world.until(() => dead.every(({ id }) => world.record(id).state === "dead"));
    await world.advance("5m");
    const from = world.calls.length;
    const found = await listed(world, { state: "dead" });
    expect(idsOf(found)).toEqual(idsOf(dead));
    for (const task of found) expect(task).toMatchObject({ state: "dead", reason: "TERMINAL", message: "bad it is." });
    const calls = world.calls.slice(from);
    expect(new Set(calls.filter(({ verb }) => verb === "query").map(({ target }) => target))).toEqual(
      new Set(["dead"]),
    );
    // It reads what it lists, and nothing else.
    expect(calls.filter(({ verb }) => verb === "readMany")).toHaveLength(450);
    await world.close();
  });

  test("goes back by the time of death, 30 days if nothing else is said", async () => {
    const world = await flowWorld();
    const early = await world.client.enqueue(bad, { n: 1 });
    const first = workerOf(world);
    await world.until(() => world.record(early.id).state === "dead");
    first.stop();
    const late = await world.client.enqueue(bad, { n: 2 }, { delay: "29d" });
    await world.advance(30 * DAY_MS + 60_000);
    // Created 30 days ago, and dead just now.
    const second = world.worker([bad.handle(() => Promise.reject(new TerminalError("too late")))]);
    await world.until(() => world.record(late.id).state === "dead");
    second.stop();
    expect(idsOf(await listed(world, { state: "dead" }))).toEqual([late.id]);
    expect(idsOf(await listed(world, { state: "dead", within: "31d" }))).toEqual([early.id, late.id].sort());
    expect(idsOf(await listed(world, { state: "dead", within: "1m" }))).toEqual([late.id]);
    const list = world.client.list({ state: "dead" });
    expect(list.since).toBe(world.clock.now() - 30 * DAY_MS);
    expect(world.client.list({ state: "dead", within: "1m" }).since).toBe(world.clock.now() - 60_000);
    await world.close();
  });

  test("tells one task's dead from another's, and ends at a limit", async () => {
    const world = await flowWorld();
    workerOf(world);
    const dead = await world.client.enqueueMany(bad, entries(30));
    await world.until(() => dead.every(({ id }) => world.record(id).state === "dead"));
    expect(await listed(world, { state: "dead", task: "good" })).toEqual([]);
    expect(await listed(world, { state: "dead", task: "bad" })).toHaveLength(30);
    expect(await listed(world, { state: "dead", limit: 7 })).toHaveLength(7);
    expect(await listed(world, { state: "dead", limit: 0 })).toEqual([]);
    const from = world.calls.length;
    for await (const _ of world.client.list({ state: "dead" })) break;
    // Whoever stops early has read one page.
    expect(world.calls.slice(from).filter(({ verb }) => verb === "query").length).toBeLessThanOrEqual(2);
    await world.close();
  });

  test("loses a task that was redriven, though the index is late", async () => {
    const world = await flowWorld({ indexLagMs: 30_000 });
    const worker = workerOf(world);
    const task = await world.client.enqueue(bad, { n: 1 });
    await world.until(() => world.record(task.id).state === "dead");
    worker.stop();
    expect(await listed(world, { state: "dead" })).toEqual([]);
    await world.advance("31s");
    expect(idsOf(await listed(world, { state: "dead" }))).toEqual([task.id]);
    await task.redrive();
    expect(await listed(world, { state: "dead" })).toEqual([]);
    await world.advance("31s");
    expect(await listed(world, { state: "dead" })).toEqual([]);
    await world.close();
  });

  test("F29 leaves out a record whose time is over, though it is still there", async () => {
    const world = await flowWorld({ ttlLagMs: 5 * DAY_MS });
    const brief = defineTask({ name: "brief", input: z.object({}), retention: "1d" });
    const worker = world.worker([brief.handle(() => Promise.reject(new TerminalError("no")))], { scheduler: false });
    const task = await world.client.enqueue(brief, {});
    await world.until(() => world.record(task.id).state === "dead");
    worker.stop();
    await world.advance("18d");
    expect(await listed(world, { state: "dead" })).toHaveLength(1);
    await world.advance("2d");
    expect(world.backend.ledger.recordItem(task.id)).toBeDefined();
    expect(await listed(world, { state: "dead" })).toEqual([]);
    await expect(task.get()).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    await world.close();
  });
});

describe("the list of all others", () => {
  test("walks a window of creation time, a day if nothing else is said, and says how far it looked", async () => {
    const world = await flowWorld();
    const old = await world.client.enqueueMany(good, entries(10));
    await world.advance("25h");
    const young = await world.client.enqueueMany(good, entries(130));
    const list = world.client.list({ state: "queued" });
    expect(list.since).toBe(world.clock.now() - DAY_MS);
    expect(idsOf(await listed(world, { state: "queued" }))).toEqual(idsOf(young));
    expect(idsOf(await listed(world, { state: "queued", within: "2d" }))).toEqual(idsOf([...old, ...young]));
    expect(idsOf(await listed(world))).toEqual(idsOf(young));
    await world.close();
  });

  test("finds each state", async () => {
    const world = await flowWorld();
    const later = await world.client.enqueue(good, { n: 1 }, { delay: "2h" });
    const cancelled = await world.client.enqueue(good, { n: 2 }, { delay: "2h" });
    await cancelled.cancel("not needed");
    const slow = defineTask({ name: "slow", input: z.object({}), timeout: "1h" });
    const expiring = await world.client.enqueue(good, { n: 3 }, { expires: "1s" });
    await world.advance("2s");
    const worker = world.worker(
      (host) => [
        good.handle(() => undefined),
        bad.handle(() => Promise.reject(new TerminalError("bad it is"))),
        slow.handle((_, ctx) => host.pause(1_800_000, ctx.signal)),
      ],
      { scheduler: false },
    );
    const running = await world.client.enqueue(slow, {});
    const done = await world.client.enqueue(good, { n: 4 });
    const dead = await world.client.enqueue(bad, { n: 5 });
    await world.until(
      () =>
        world.record(dead.id).state === "dead" &&
        world.record(done.id).state === "succeeded" &&
        world.record(running.id).state === "running" &&
        world.record(expiring.id).state === "expired",
    );
    const wanted = {
      queued: later,
      cancelled,
      expired: expiring,
      running,
      succeeded: done,
      dead,
    } as const;
    for (const state of ["queued", "cancelled", "expired", "running", "succeeded", "dead"] as const)
      expect([state, idsOf(await listed(world, { state }))]).toEqual([state, [wanted[state].id]]);
    expect(idsOf(await listed(world))).toEqual(idsOf(Object.values(wanted)));
    expect(idsOf(await listed(world, { task: "good" }))).toEqual(idsOf([later, cancelled, expiring, done]));
    worker.stop();
    await world.close();
  });

  test("has the newest first within each shard, and no task twice", async () => {
    const world = await flowWorld();
    const tasks = [];
    for (let n = 0; n < 300; n++) {
      tasks.push(await world.client.enqueue(good, { n }));
      await world.advance(7);
    }
    const found = await listed(world);
    expect(idsOf(found)).toEqual(idsOf(tasks));
    expect(new Set(idsOf(found)).size).toBe(300);
    let turns = 0;
    for (const [at, task] of found.entries()) if (at > 0 && task.createdAt > (found[at - 1]?.createdAt ?? 0)) turns++;
    // Sixteen shards, each of which begins with its newest.
    expect(turns).toBeLessThan(16);
    await world.close();
  });

  test("fails as a call does if the ledger does not answer", async () => {
    const world = await flowWorld();
    await world.client.enqueue(good, { n: 1 });
    world.faults = ({ verb }) => (verb === "query" ? "refused" : undefined);
    await expect(listed(world)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    await world.close();
  });
});
