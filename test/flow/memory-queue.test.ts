import { expect, test } from "vitest";
import { z } from "zod";
import { spawnSync } from "node:child_process";
import { setTimeout as realPause } from "node:timers/promises";
import { defineTask } from "../../lib/index.ts";
import { nextTurn } from "../../lib/system.ts";
import { createMemoryQueue } from "../../lib/testing/index.ts";

const errand = defineTask({ name: "errand", input: z.object({ n: z.int() }), output: z.int() });
const other = defineTask({ name: "other", input: z.object({ n: z.int() }) });
const handlers = [errand.handle(({ n }) => n)];

test("a result that is awaited before anything runs says so, and does not hang", async () => {
  const queue = createMemoryQueue({ handlers });
  const task = await queue.client.enqueue(errand, { n: 1 });
  // Nobody awaits this one yet when it fails, and that ends no test.
  const unawaited = task.result();
  await expect(task.result({ timeout: "1h" })).rejects.toMatchObject({
    code: "RESULT_TIMEOUT",
    message: expect.stringMatching(/"errand" is queued.*drain\(\)/),
  });
  await nextTurn();
  await expect(unawaited).rejects.toMatchObject({ code: "RESULT_TIMEOUT" });
  await queue.drain();
  expect(await task.result()).toBe(1);
});

test("a result of a task without a handler says so", async () => {
  const queue = createMemoryQueue({ handlers });
  const [task] = await queue.client.enqueueMany(other, [{ input: { n: 1 } }]);
  await queue.drain();
  await expect(task?.result()).rejects.toMatchObject({ fix: 'give createMemoryQueue the handler of "other"' });
});

test("a result survives that its process was busy for long before drain()", async () => {
  const queue = createMemoryQueue({ handlers: [errand.handle(async ({ n }) => (await realPause(500), n))] });
  const task = await queue.client.enqueue(errand, { n: 7 });
  const result = task.result();
  await realPause(100);
  spawnSync("sleep", ["3.2"]);
  const drained = queue.drain();
  expect(await result).toBe(7);
  await drained;
});

test("a result that is awaited beside drain() waits for a handler that does real work", async () => {
  let end = (): void => undefined;
  const work = new Promise<void>((resolve) => (end = resolve));
  const queue = createMemoryQueue({ handlers: [errand.handle(async ({ n }) => (await work, n))] });
  const task = await queue.client.enqueue(errand, { n: 7 });
  const result = queue.client.task(errand, task.id).result();
  const drained = queue.drain();
  // Longer than a clock that nobody moves is waited for.
  const began = performance.now();
  await expect.poll(() => performance.now() - began, { timeout: 8_000 }).toBeGreaterThan(3_500);
  end();
  await drained;
  expect(await result).toBe(7);
});
