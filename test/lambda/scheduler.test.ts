import { describe, expect, test } from "vitest";
import { createLambdaScheduler } from "../../lib/lambda/index.ts";
import type { RecoverReport } from "../../lib/index.ts";
import { defineTask } from "../../lib/index.ts";
import { z } from "zod";
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
      writeMetrics: (line) => lines.push(line),
    });
    await world.during(scheduler({}, { getRemainingTimeInMillis: () => 60_000 }));
    expect((await world.take("normal")).map(({ body }) => JSON.parse(body).id)).toEqual([task.id]);
    expect(lines).toHaveLength(1);
    expect(JSON.parse(lines[0] ?? "")).toMatchObject({ Queue: world.backend.topology.queue, DeadTasks: 0 });
    expect(JSON.parse(lines[0] ?? "").OldestTaskAge).toBeGreaterThan(0);
    await world.close();
  });

  test("stops before its deadline, and the next minute's run goes on", async () => {
    const world = await flowWorld();
    const tasks = await Promise.all(
      Array.from({ length: 40 }, (_, place) => world.client.enqueue(remind, { place }, { delay: "20m" })),
    );
    await world.advance("21m");
    const reports: Partial<RecoverReport>[] = [];
    const scheduler = createLambdaScheduler({
      backend: world.backend,
      clock: world.clock,
      writeMetrics: () => undefined,
      onEvent: (event) => {
        if (event.type === "scheduler-ran") reports.push(event);
      },
    });
    // No time is left beyond the reserve: nothing may be begun.
    const began = world.clock.now();
    await world.during(scheduler({}, { getRemainingTimeInMillis: () => 1_000 }));
    expect(world.clock.now() - began).toBeLessThan(1_000);
    expect(reports[0]?.resent ?? 0).toBe(0);
    await world.advance("1m");
    await world.during(scheduler({}, { getRemainingTimeInMillis: () => 60_000 }));
    expect(reports[1]?.owed).toBe(tasks.length);
    await world.close();
  });
});
