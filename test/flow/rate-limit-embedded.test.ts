import { expect, test } from "vitest";
import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";
import { startLocal } from "../../lib/testing/start-local.ts";
import { createWorker } from "../../lib/worker.ts";
import { worstBreach } from "../support/rate-property.ts";

/** A start is noted a little after the worker's look at the clock, by what else this process has to do meanwhile. */
const NOTED_LATE_MS = 50;
const TASKS = 60;

test("F28 two workers on real clients start no more than 20 a second and a burst of 10", async () => {
  const supplier = defineRateLimit({ name: "supplier", limit: 20, burst: 10 });
  const call = defineTask({ name: "call", input: z.object({ n: z.number() }), rateLimit: supplier });
  const starts: { at: number; worker: string; n: number }[] = [];
  const handlerOf = (worker: string) =>
    call.handle(({ n }) => {
      starts.push({ at: Date.now(), worker, n });
    });
  const events: TasklaneEvent[] = [];
  const onEvent = (event: TasklaneEvent): void => void events.push(event);
  const options = { lanes: ["normal"], scheduler: false, concurrency: 10, onEvent } as const;
  const local = await startLocal({
    spec: { queue: "limited", lanes: ["normal"] },
    handlers: [handlerOf("one")],
    worker: options,
  });
  const stop = new AbortController();
  const other = createWorker({
    ...options,
    handlers: [handlerOf("two")],
    topology: local.topology,
    log: () => undefined,
  }).run({
    signal: stop.signal,
  });
  try {
    const tasks = await local.client.enqueueMany(
      call,
      Array.from({ length: TASKS }, (_, n) => ({ input: { n } })),
    );
    await Promise.all(tasks.map((task) => task.result({ timeout: "50s" })));
    expect(starts.map(({ n }) => n).sort((a, b) => a - b)).toEqual(Array.from({ length: TASKS }, (_, n) => n));
    expect(
      worstBreach(
        starts.map(({ at }) => at),
        supplier,
        NOTED_LATE_MS,
      ),
    ).toBeUndefined();
    expect(new Set(starts.map(({ worker }) => worker)).size).toBe(2);
    // It takes at least the time that the rate allows.
    const spanMs = Math.max(...starts.map(({ at }) => at)) - Math.min(...starts.map(({ at }) => at));
    expect(spanMs).toBeGreaterThanOrEqual(((TASKS - supplier.burst) / supplier.limit) * 1_000 - NOTED_LATE_MS);
    expect(events.filter(({ type }) => type === "attempt-started")).toHaveLength(TASKS);
    const details = await Promise.all(tasks.slice(0, 10).map((task) => task.get()));
    for (const task of details) expect(task).toMatchObject({ state: "succeeded", attempts: 1, failures: 0 });
  } finally {
    stop.abort();
    await other;
    await local.close();
  }
});
