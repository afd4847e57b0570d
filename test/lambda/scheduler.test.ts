import { describe, expect, test } from "vitest";
import type { LambdaContext } from "../../lib/lambda/index.ts";
import { createLambdaScheduler } from "../../lib/lambda/index.ts";
import { defineTask } from "../../lib/index.ts";
import { z } from "zod";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const remind = defineTask({ name: "remind", input: z.object({ place: z.int() }) });

describe("a scheduler function", () => {
  test("sends what is due, and writes the gauges under the queue's name", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(remind, { place: 1 }, { delay: "20m" });
    await world.advance("21m");
    const lines: string[] = [];
    const scheduler = createLambdaScheduler({
      backend: world.backend,
      clock: world.clock,
      log: () => undefined,
      writeMetrics: (line) => lines.push(line),
    });
    await world.during(scheduler({}, { getRemainingTimeInMillis: () => 60_000 }));
    expect((await world.take("normal")).map(({ body }) => JSON.parse(body).id)).toEqual([task.id]);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ Queue: world.backend.topology.queue, DeadTasks: 0 });
    expect(JSON.parse(lines[0] ?? "").OldestTaskAge).toBeGreaterThan(0);
    await world.close();
  });

  test("stops before its deadline wherever it is, and the next minute's run goes on", async () => {
    const world = await flowWorld();
    const tasks = await Promise.all(
      Array.from({ length: 200 }, (_, place) => world.client.enqueue(remind, { place }, { delay: "20m" })),
    );
    await world.advance("21m");
    const { scheduler, lines } = functionOf(world);
    // Each call takes its time, so that a run gets through a part of its work.
    world.faults = ({ verb }) =>
      verb === "query" || verb === "changeMany"
        ? new Promise((resolve) => void world.clock.timer(550, () => resolve(undefined)))
        : undefined;
    const sent: number[] = [];
    for (let minute = 0; minute < 10; minute++) {
      const began = world.clock.now();
      await world.during(scheduler({}, contextOf(world, 4_000)));
      expect(world.clock.now() - began).toBeLessThan(4_000);
      sent.push(lines.splice(0).reduce((sum, { resent }) => sum + Number(resent), 0));
      await world.advance("1m");
    }
    const [first = 0] = sent;
    expect(first).toBeGreaterThan(0);
    expect(first).toBeLessThan(tasks.length);
    expect(sent.reduce((sum, count) => sum + count, 0)).toBe(tasks.length);
    await world.close();
  });

  test.each([
    { what: "reads that take as long as they may", query: 13_000, send: 0, gauges: [{ DeadTasks: 0 }] },
    { what: "sends that begin just in time", query: 5_000, send: 16_000, gauges: [{ DeadTasks: 0 }] },
    { what: "reads that are never answered", query: 3_600_000, send: 0, gauges: [] },
  ])("F07 ends before its deadline, and writes down how far it came: $what", async ({ query, send, gauges }) => {
    const world = await flowWorld();
    const tasks = await Promise.all(
      Array.from({ length: 50 }, (_, place) => world.client.enqueue(remind, { place }, { delay: "20m" })),
    );
    await world.advance("21m");
    const { scheduler, lines, metrics } = functionOf(world);
    const times: Readonly<Record<string, number>> = { query, send };
    world.faults = ({ verb }) => {
      const ms = times[verb] ?? 0;
      return ms === 0 ? undefined : new Promise((resolve) => void world.clock.timer(ms, () => resolve(undefined)));
    };
    const began = world.clock.now();
    await expect(world.during(scheduler({}, contextOf(world, 60_000)))).rejects.toThrow("BACKEND_UNAVAILABLE");
    expect(world.clock.now() - began).toBeLessThan(60_000);
    // Whatever could be measured is told all the same.
    expect(metrics.map((line) => JSON.parse(line))).toMatchObject(gauges);
    world.faults = undefined;
    await world.advance("1m");
    await world.during(scheduler({}, contextOf(world, 60_000)));
    expect(lines).toMatchObject([{ skipped: false }]);
    const taken = new Set<string>();
    for (let messages = await world.take("normal"); messages.length > 0; messages = await world.take("normal"))
      for (const { body } of messages) taken.add(JSON.parse(body).id);
    expect(taken).toEqual(new Set(tasks.map(({ id }) => id)));
    await world.close();
  });

  test("F07 walks on in each run although each is ended in the middle of a page", async () => {
    const world = await flowWorld();
    await Promise.all(Array.from({ length: 400 }, (_, place) => world.client.enqueue(remind, { place })));
    await world.advance("21m");
    const { scheduler } = functionOf(world);
    world.faults = ({ verb }) =>
      verb === "query" || verb === "readMany"
        ? new Promise((resolve) => void world.clock.timer(4_500, () => resolve(undefined)))
        : undefined;
    const states = new Set<string>();
    for (let minute = 0; minute < 4; minute++) {
      await world.during(scheduler({}, contextOf(world, 60_000))).catch(() => undefined);
      states.add(JSON.stringify(JSON.parse((await world.backend.ledger.readDocument("scheduler")).value).cursors));
      await world.advance("1m");
    }
    expect(states).not.toContain("{}");
    expect(states.size).toBeGreaterThan(2);
    await world.close();
  });

  test("F07 begins nothing when its time has run out, and runs to its end by hand", async () => {
    const world = await flowWorld();
    await world.client.enqueue(remind, { place: 1 }, { delay: "20m" });
    await world.advance("21m");
    const { scheduler, lines } = functionOf(world);
    await world.during(scheduler({}, { getRemainingTimeInMillis: () => 0 }));
    await world.advance("1m");
    await world.during(scheduler({}));
    expect(lines.map(({ resent }) => resent)).toEqual([0, 1]);
    await world.close();
  });

  test("rejects where a run fails, so that Lambda counts an error, and the next minute's run is not kept from its work", async () => {
    const world = await flowWorld();
    await world.client.enqueue(remind, { place: 1 }, { delay: "20m" });
    await world.advance("21m");
    const { scheduler, lines } = functionOf(world);
    world.faults = ({ verb }) => (verb === "query" ? "refused" : undefined);
    await expect(world.during(scheduler({}, contextOf(world, 60_000)))).rejects.toThrow("BACKEND_UNAVAILABLE");
    world.faults = undefined;
    await world.advance("1m");
    await world.during(scheduler({}, contextOf(world, 60_000)));
    expect(lines.map(({ resent }) => resent)).toEqual([1]);
    await world.close();
  });

  test("writes a metric of each task that it finds dead", async () => {
    const world = await flowWorld();
    await world.backend.queue.send({ lane: "normal", dead: true }, [
      { body: "what a native redrive policy put there" },
    ]);
    const { scheduler, metrics } = functionOf(world);
    await world.during(scheduler({}, contextOf(world, 60_000)));
    await world.advance("1m");
    await world.during(scheduler({}, contextOf(world, 60_000)));
    expect(metrics.map((line) => JSON.parse(line))).toContainEqual(expect.objectContaining({ DeadLettered: 1 }));
    await world.close();
  });
});

function contextOf(world: FlowWorld, ms: number): LambdaContext {
  const end = world.clock.now() + ms;
  return { getRemainingTimeInMillis: () => end - world.clock.now() };
}

/** A scheduler function of a world, with the fields of what it logs. */
function functionOf(world: FlowWorld): {
  scheduler: ReturnType<typeof createLambdaScheduler>;
  lines: Readonly<Record<string, unknown>>[];
  metrics: string[];
} {
  const lines: Readonly<Record<string, unknown>>[] = [];
  const metrics: string[] = [];
  const scheduler = createLambdaScheduler({
    backend: world.backend,
    clock: world.clock,
    log: (_level, message, fields) => {
      if (message === "scheduler ran") lines.push(fields);
    },
    writeMetrics: (line) => metrics.push(line),
  });
  return { scheduler, lines, metrics };
}
