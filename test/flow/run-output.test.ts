import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { flowWorld } from "../support/flow-world.ts";

const input = z.object({});
const STEADY = { initial: "1s", factor: 1, max: "1s", jitter: "none" } as const;

/** Text of so many bytes that does not compress, of characters of four bytes as far as they fit. */
function textOf(bytes: number): string {
  let [text, left, seed] = ["", bytes, 1];
  for (; left >= 4; left -= 4) {
    seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
    text += String.fromCodePoint(0x20000 + (seed >>> 17));
  }
  return text + "x".repeat(left);
}

describe("a result", () => {
  test.each([
    [10, "record"],
    [300, "record"],
    [1_500, "side"],
    [200_000, "s3"],
  ])("of %i bytes lies in the %s, and is read back as it was", async (bytes, at) => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, output: z.string() });
    const text = textOf(bytes);
    world.worker([task.handle(() => text)]);
    const { id, result } = await world.client.enqueue(task, {});
    await world.advance("1s");
    expect(world.record(id).output?.at).toBe(at);
    expect(await result()).toBe(text);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("goes to the caller as the output schema makes it, and is stored as the handler gave it", async () => {
    const world = await flowWorld();
    const task = defineTask({
      name: "sample",
      input,
      output: z.object({ at: z.string().transform((text) => new Date(text)) }),
    });
    world.worker([task.handle(() => ({ at: "2026-01-01T00:00:00.000Z" }))]);
    const { id, result } = await world.client.enqueue(task, {});
    await world.advance("1s");
    expect(world.record(id).output).toEqual({ at: "record", json: '{"at":"2026-01-01T00:00:00.000Z"}' });
    expect(await result()).toEqual({ at: new Date(Date.UTC(2026, 0, 1)) });
    await world.close();
  });

  test("is not kept where the task has no output schema", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input });
    world.worker([task.handle(() => ({ huge: 1n }))]);
    const { id, result } = await world.client.enqueue(task, {});
    await world.advance("1s");
    expect(world.record(id)).not.toHaveProperty("output");
    expect(await result()).toBeUndefined();
    await world.close();
  });

  test.each<[string, unknown]>([
    ["another type", 7],
    ["no JSON", 1n],
    ["a date", new Date(0)],
    ["nothing", undefined],
  ])("that is %s fails the attempt as OUTPUT_INVALID, and a later attempt may succeed", async (_what, wrong) => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, output: z.string(), backoff: STEADY });
    world.worker([task.handle((_given, { attempt }) => (attempt === 1 ? (wrong as string) : "right"))]);
    const { get, result } = await world.client.enqueue(task, {});
    await world.advance("3s");
    expect(await get()).toMatchObject({ state: "succeeded", failures: 1, history: [{ code: "OUTPUT_INVALID" }] });
    expect(await result()).toBe("right");
    await world.close();
  });

  test("that is larger than a payload may be fails the attempt", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, output: z.string(), maxRetries: 0 });
    world.worker([task.handle(() => "x".repeat(10 * 1_048_576))]);
    const { get } = await world.client.enqueue(task, {});
    await world.advance("1s");
    expect(await get()).toMatchObject({ state: "dead", history: [{ code: "OUTPUT_INVALID" }] });
    await world.close();
  });

  test("is waited for: 100 ms, then ever longer, and RESULT_TIMEOUT leaves the task as it is", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, output: z.string(), timeout: "2m" });
    world.worker((host) => [
      task.handle(async (_given, { signal }) => {
        await host.pause(60_000, signal);
        return "late";
      }),
    ]);
    const ref = await world.client.enqueue(task, {});
    const early = ref.result({ timeout: "10s" });
    await expect(world.during(early)).rejects.toMatchObject({ code: "RESULT_TIMEOUT" });
    expect(world.clock.monotonic()).toBe(10_000);
    const reads = world.calls.filter(({ verb }) => verb === "readMany").length;
    expect(reads).toBeGreaterThan(5);
    expect(reads).toBeLessThan(15);
    expect(await world.during(ref.result({ timeout: "2m" }))).toBe("late");
    expect(world.clock.monotonic() - 60_000).toBeLessThan(7_000);
    await world.close();
  });

  test("of a task that ended otherwise is an error that says how", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, maxRetries: 0 });
    world.worker([
      task.handle(() => {
        throw new Error("no luck");
      }),
    ]);
    const dead = await world.client.enqueue(task, {});
    const cancelled = await world.client.enqueue(task, {}, { delay: "1h" });
    await cancelled.cancel("not needed");
    await world.advance("1s");
    await expect(dead.result()).rejects.toThrow(/TASK_DEAD.*RETRIES_EXHAUSTED: Error: no luck/);
    await expect(cancelled.result()).rejects.toThrow(/TASK_CANCELLED.*not needed/);
    await expect(world.client.task(task, "no-such-task-000").result()).rejects.toMatchObject({
      code: "TASK_NOT_FOUND",
    });
    await world.close();
  });

  test("F19 is kept in memory while it cannot be stored, and stored under the same fence then", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, output: z.string() });
    const text = textOf(20_000);
    world.worker([task.handle(() => text)]);
    world.faults = ({ verb }) => (verb === "put" ? "refused" : undefined);
    const { id, result } = await world.client.enqueue(task, {});
    await world.advance("5m");
    expect(world.record(id)).toMatchObject({ state: "running", attempts: 1 });
    world.faults = undefined;
    await world.advance("10s");
    expect(world.record(id)).toMatchObject({ state: "succeeded", attempts: 1 });
    expect(await result()).toBe(text);
    await world.close();
  });
});
