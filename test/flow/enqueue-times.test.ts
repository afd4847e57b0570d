import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import type { Duration } from "../../lib/task/duration.ts";
import { parseDuration } from "../../lib/task/duration.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import { createMemoryQueue } from "../../lib/testing/create-memory-queue.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({}), maxLifetime: "1d" });

/** Start of a memory queue's and a world's time. */
const START_MS = Date.UTC(2026, 0, 1);

async function startAfter(delay: Duration): Promise<{ dueMs: number; startedMs: number; starts: number }> {
  const queue = createMemoryQueue({ handlers: [plain.handle(() => undefined)] });
  await queue.client.enqueue(plain, {}, { delay });
  await queue.drain({ within: "60d" });
  const starts = queue.events.filter((event) => event.type === "attempt-started");
  return {
    dueMs: START_MS + parseDuration(delay, "delay"),
    startedMs: starts[0]?.at ?? Number.NaN,
    starts: starts.length,
  };
}

describe("a task for later", () => {
  test.each<Duration>(["0s", "1ms", "999ms", "1s", "1500ms", "2s", "2001ms", "59999ms", "10m", "899999ms", "15m"])(
    "starts exactly in its time, and once, if SQS can delay it: %s",
    async (delay) => {
      const { dueMs, startedMs, starts } = await startAfter(delay);
      expect([startedMs - dueMs, starts]).toEqual([0, 1]);
    },
  );

  test.each<Duration>(["900001ms", "16m", "1h", "26h", "3d", "30d"])(
    "starts exactly in its time, and once, if the scheduler sends it: %s",
    async (delay) => {
      const { dueMs, startedMs, starts } = await startAfter(delay);
      expect([startedMs - dueMs, starts]).toEqual([0, 1]);
    },
  );

  test("is owed from the start if SQS cannot delay it so long, and not sent", async () => {
    const world = await flowWorld();
    const near = await world.client.enqueue(plain, {}, { delay: "15m" });
    const far = await world.client.enqueue(plain, {}, { delay: "900001ms" });
    expect(world.record(near.id)).not.toHaveProperty("owedAt");
    expect(world.record(far.id).owedAt).toBe(START_MS + 900_001 - 300_000);
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 1, inFlight: 0 });
  });

  test("starts within seconds of its time also where the scheduler runs only now and then before it", async () => {
    const world = await flowWorld();
    world.worker([plain.handle(() => undefined)]);
    const task = await world.client.enqueue(plain, {}, { delay: "2h" });
    // Its runs fail for three minutes, in the very time in which they should send it.
    await world.advance("1h");
    world.faults = ({ verb }) => (verb === "query" && world.clock.monotonic() < 7_080_000 ? "refused" : undefined);
    await world.advance("61m");
    const [started] = world.of("attempt-started", task.id);
    expect(started?.at).toBe(START_MS + 7_200_000);
    await world.close();
  });

  test("may be given as a date, and one that is past means now", async () => {
    const queue = createMemoryQueue({ handlers: [plain.handle(() => undefined)] });
    await queue.client.enqueue(plain, {}, { runAt: new Date(START_MS + 90_000) });
    await queue.client.enqueue(plain, {}, { runAt: new Date(START_MS - 90_000) });
    await queue.drain();
    const starts = queue.events.filter((event) => event.type === "attempt-started").map((event) => event.at - START_MS);
    expect(starts).toEqual([0, 90_000]);
  });

  test("is not both delayed and dated", async () => {
    const queue = createMemoryQueue();
    const both = { delay: "1s", runAt: new Date(START_MS) } as unknown as { delay: "1s" };
    await expect(queue.client.enqueue(plain, {}, both)).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });

  test("starts late rather than early where its messages come too soon", async () => {
    const world = await flowWorld();
    world.worker([plain.handle(() => undefined)]);
    const task = await world.client.enqueue(plain, {}, { delay: "1h" });
    // A copy from nowhere, such as an old message of a task that was put off.
    const other = await flowWorld();
    const { id } = await other.client.enqueue(plain, {}, { id: task.id });
    expect(id).toBe(task.id);
    const [message] = await other.take();
    await world.backend.queue.send({ lane: "normal" }, [{ body: message?.body ?? "" }]);
    await world.advance("90m");
    expect(world.of("attempt-started", task.id).map(({ at }) => at - START_MS)).toEqual([3_600_000]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("a task that expires", () => {
  test("ends as expired at the claim if it was not started in time, and its handler never starts", async () => {
    const queue = createMemoryQueue({ handlers: [plain.handle(() => undefined)] });
    const late = await queue.client.enqueue(plain, {}, { expires: "10s", delay: "5s" });
    const inTime = await queue.client.enqueue(plain, {}, { expires: "1s" });
    queue.clock.advance(20_000);
    await queue.drain();
    for (const task of [late, inTime]) {
      expect(await task.get()).toMatchObject({ state: "expired", attempts: 0, message: "it was not started in time" });
      await expect(task.result()).rejects.toMatchObject({ code: "TASK_EXPIRED" });
    }
    expect(queue.events.filter(({ type }) => type === "attempt-started")).toEqual([]);
  });

  test("runs if it starts in time, and its retries may come later", async () => {
    const world = await flowWorld();
    world.worker([
      plain.handle((_input, { attempt }) => {
        if (attempt < 3) throw new Error("again");
      }),
    ]);
    const task = await world.client.enqueue(plain, {}, { expires: "1s" });
    await world.advance("2m");
    expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 3 });
    await world.close();
  });

  test("is refused if it would end before it may start", async () => {
    const { client } = createMemoryQueue();
    const refused = [
      client.enqueue(plain, {}, { delay: "10s", expires: "10s" }),
      client.enqueue(plain, {}, { expires: new Date(START_MS) }),
      client.enqueue(plain, {}, { runAt: new Date(START_MS + 5_000), expires: "5s" }),
    ];
    for (const each of refused) await expect(each).rejects.toMatchObject({ code: "OPTION_INVALID" });
    expect(TasklaneError.is(await refused[0]?.catch((error: unknown) => error))).toBe(true);
  });
});
