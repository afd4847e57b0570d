import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import { LANES } from "../../lib/task/lane.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld, WorldWorker } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { depthOf, purge } from "../support/world-scheduler.ts";

const secret = defineTask({ name: "secret", input: z.object({ card: z.string() }) });
const other = defineTask({ name: "other", input: z.object({}).loose() });

/** Sends a message of this queue that names a task of its choice for an id. */
async function forge(world: FlowWorld, id: string, task: string): Promise<void> {
  const { queue } = world.backend.topology;
  const body = JSON.stringify({ v: 1, q: queue, id, t: task, e: 1, due: world.clock.now() });
  await world.backend.queue.send({ lane: "normal" }, [{ body }]);
}

const startsOf = (worker: WorldWorker): number => worker.events.filter(({ type }) => type === "attempt-started").length;

describe("a message that names another task of the queue", () => {
  test.for([
    { who: "a worker that knows the named task only", knowsBoth: false },
    { who: "a worker that knows both", knowsBoth: true },
  ])("never hands one task's payload to the other's handler: $who", async ({ knowsBoth }) => {
    const world = await flowWorld();
    const task = await world.client.enqueue(secret, { card: "4111" });
    // The forged message takes the place of the task's own.
    expect(await purge(world)).toBe(1);
    await forge(world, task.id, "other");
    const seen: { by: string; input: unknown }[] = [];
    const others = other.handle((input) => void seen.push({ by: "other", input }));
    const secrets = secret.handle((input) => void seen.push({ by: "secret", input }));
    world.worker(knowsBoth ? [others, secrets] : [others]);
    await world.advance("2m");
    expect(seen.map(({ by }) => by)).toEqual(knowsBoth ? ["secret"] : []);
    expect(world.record(task.id)).toMatchObject({ attempts: knowsBoth ? 1 : 0, failures: 0, crashes: 0 });
    if (!knowsBoth) world.worker([secrets]);
    await world.until(() => world.record(task.id).state === "succeeded", "10m");
    expect(seen).toEqual([{ by: "secret", input: { card: "4111" } }]);
    expect(world.record(task.id)).toMatchObject({ attempts: 1, failures: 0, crashes: 0 });
    await world.advance("2m");
    expect(await depthOf(world)).toBe(0);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("F44 a mixed fleet", () => {
  test("lets nobody die as UNKNOWN_TASK while a worker that knows the task puts it back for longer than a day", async () => {
    const world = await flowWorld();
    const slow = defineTask({
      name: "slow",
      input: z.object({ n: z.number() }),
      rateLimit: defineRateLimit({ name: "slow", limit: 1, per: "30m" }),
    });
    world.worker([other.handle(() => undefined)]);
    world.worker([slow.handle(() => undefined)]);
    const tasks = await world.client.enqueueMany(
      slow,
      Array.from({ length: 80 }, (_, n) => ({ input: { n } })),
    );
    await world.advance("30h");
    const states = tasks.map(({ id }) => world.record(id)).map(({ state, reason }) => ({ state, reason }));
    expect(states.filter(({ state }) => state === "dead")).toEqual([]);
    expect(world.of("deferred").some(({ reason }) => reason === "unknown-task")).toBe(true);
    // The test means something only while tasks are still waiting.
    const waiting = states.filter(({ state }) => state === "queued").length;
    expect(waiting).toBeGreaterThan(0);
    expect(waiting).toBeLessThan(tasks.length);
    await world.close();
  });
});

describe("messages for which there is no slot", () => {
  test("go back within a lease, and another worker runs them", async () => {
    const world = await flowWorld({ spec: {} });
    const long = defineTask({ name: "long", input: z.object({ n: z.number() }), timeout: "3h" });
    const handlers = (host: FlowHost): TaskHandler[] => [
      long.handle((_input, ctx) => host.pause(2 * 3_600_000, ctx.signal)),
    ];
    const small = world.worker(handlers, { concurrency: 10 });
    await world.advance("3s");
    // All four long polls of the small worker are answered at once, each with as much as there were slots in all.
    await Promise.all(
      LANES.flatMap((lane) => Array.from({ length: 8 }, (_, n) => world.client.enqueue(long, { n }, { lane }))),
    );
    await world.advance("5s");
    expect(startsOf(small)).toBe(10);
    const large = world.worker(handlers, { concurrency: 100 });
    await world.until(() => startsOf(small) + startsOf(large) === 32, "5m");
    expect(startsOf(small)).toBe(10);
    await world.advance("3h");
    expect(
      [...world.audit.records.values()].every(({ state, attempts }) => state === "succeeded" && attempts === 1),
    ).toBe(true);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});
