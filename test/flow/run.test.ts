import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { TaskOptions } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TaskContext } from "../../lib/task/context.ts";
import { CancelError, RetryAfterError, SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import type { TaskDetails } from "../../lib/task/task-ref.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { EventOf, FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const input = z.object({ n: z.number().optional() });
type Policies = Omit<TaskOptions<typeof input>, "name" | "input">;

const STEADY = { initial: "10s", factor: 2, max: "40s", jitter: "none" } as const;

/** Runs one task to its end by a worker whose handler does this. */
async function run(
  policies: Policies,
  act: (ctx: TaskContext, host: FlowHost) => unknown,
): Promise<{ world: FlowWorld; details: TaskDetails; starts: EventOf<"attempt-started">[] }> {
  const world = await flowWorld();
  const task = defineTask({ name: "sample", input, backoff: STEADY, ...policies });
  world.worker((host) => [task.handle((_input, ctx) => act(ctx, host))]);
  const { id, get } = await world.client.enqueue(task, {});
  await world.until(() => !["queued", "running"].includes(world.record(id).state), "60d");
  await world.advance("1s");
  return { world, details: await get(), starts: world.of("attempt-started", id) };
}

function gaps(starts: readonly EventOf<"attempt-started">[]): number[] {
  return starts.slice(1).map(({ at }, place) => at - (starts[place]?.at ?? 0));
}

describe("a handler that throws", () => {
  test("is tried again by its backoff, and is dead after its last retry with all attempts told", async () => {
    const { world, details, starts } = await run({ maxRetries: 3 }, ({ attempt }) => {
      throw new Error(`attempt ${attempt} failed`);
    });
    expect(gaps(starts)).toEqual([10_000, 20_000, 40_000]);
    expect(details).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", attempts: 4, failures: 4, crashes: 0 });
    expect(details.message).toContain("attempt 4 failed");
    expect(details.history?.map(({ attempt, outcome, message }) => [attempt, outcome, message])).toEqual([
      [1, "retry", "Error: attempt 1 failed"],
      [2, "retry", "Error: attempt 2 failed"],
      [3, "retry", "Error: attempt 3 failed"],
      [4, "dead", "Error: attempt 4 failed"],
    ]);
    expect(details.history?.[0]?.stack).toContain("run.test.ts");
    await world.close();
  });

  test("leaves a dead letter with payload, reason, stack, history and submitter", async () => {
    const { world, details } = await run({ maxRetries: 1 }, () => {
      throw new Error("no luck");
    });
    const [letter, ...more] = await world.letters();
    expect(more).toEqual([]);
    expect(letter).toMatchObject({
      queue: "tasklane",
      id: details.id,
      task: "sample",
      epoch: 1,
      reason: "RETRIES_EXHAUSTED",
      message: "Error: no luck",
      diedAt: details.finishedAt,
      payload: "{}",
      meta: { host: expect.any(String) },
    });
    expect(letter?.history).toEqual([
      expect.objectContaining({ attempt: 1, outcome: "retry", stack: expect.stringContaining("run.test.ts") }),
      expect.objectContaining({ attempt: 2, outcome: "dead", stack: expect.stringContaining("run.test.ts") }),
    ]);
    await world.close();
  });

  test.each([undefined, null, "a text", 42, { not: "an error" }, Object.create(null)])(
    "is tried again whatever it throws: %j",
    async (thrown) => {
      const { world, details } = await run({ maxRetries: 1 }, ({ attempt }) => {
        if (attempt === 1) throw thrown;
      });
      expect(details).toMatchObject({ state: "succeeded", failures: 1, attempts: 2 });
      await world.close();
    },
  );

  test("keeps no more than the last ten attempts", async () => {
    const { world, details } = await run(
      { maxRetries: 14, backoff: { initial: "1s", factor: 1, max: "1s", jitter: "none" } },
      () => {
        throw new Error("no luck");
      },
    );
    expect(details.attempts).toBe(15);
    expect(details.history?.map(({ attempt }) => attempt)).toEqual([6, 7, 8, 9, 10, 11, 12, 13, 14, 15]);
    await world.close();
  });

  test("of an error with the longest texts keeps a letter that fits, and a record within its write unit", async () => {
    const { world, details } = await run({ maxRetries: 0 }, () => {
      throw new Error("😀".repeat(50_000));
    });
    expect(details.message?.isWellFormed()).toBe(true);
    expect(details.history?.[0]?.message.length).toBeLessThanOrEqual(1_000);
    expect(world.audit.violations).toEqual([]);
    expect(await world.letters()).toHaveLength(1);
    await world.close();
  });
});

describe("a handler's named errors", () => {
  test("TerminalError ends the task at once, with its reason", async () => {
    const { world, details } = await run({}, () => {
      throw new TerminalError("the address does not exist");
    });
    expect(details).toMatchObject({ state: "dead", reason: "TERMINAL", attempts: 1, failures: 0 });
    expect(details.message).toContain("the address does not exist");
    await world.close();
  });

  test("RetryAfterError waits as long as it says, and counts a failure", async () => {
    const { world, details, starts } = await run({ maxRetries: 2 }, ({ attempt }) => {
      if (attempt < 3) throw new RetryAfterError(attempt === 1 ? "45s" : "20m");
    });
    expect(gaps(starts)).toEqual([45_000, 1_200_000]);
    expect(details).toMatchObject({ state: "succeeded", failures: 2, snoozes: 0, attempts: 3 });
    await world.close();
  });

  test("RetryAfterError ends the task as any failure does once no retry is left", async () => {
    const { world, details } = await run({ maxRetries: 1 }, () => {
      throw new RetryAfterError("1s");
    });
    expect(details).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", attempts: 2, failures: 2 });
    await world.close();
  });

  test("SnoozeError waits as long as it says, and counts nothing but the snooze, however often", async () => {
    const { world, details, starts } = await run({ maxRetries: 0 }, ({ attempt }) => {
      if (attempt <= 20) throw new SnoozeError(attempt % 2 === 0 ? "1h" : "30s");
    });
    expect(gaps(starts)).toEqual(Array.from({ length: 20 }, (_, at) => (at % 2 === 0 ? 30_000 : 3_600_000)));
    expect(details).toMatchObject({ state: "succeeded", failures: 0, snoozes: 20, attempts: 21 });
    expect(details.history).toEqual([]);
    await world.close();
  });

  test("CancelError ends the task as cancelled, and leaves no dead letter", async () => {
    const { world, details } = await run({}, () => {
      throw new CancelError("the order was withdrawn");
    });
    expect(details).toMatchObject({ state: "cancelled", reason: "CANCELLED", attempts: 1 });
    expect(details.message).toContain("the order was withdrawn");
    expect(await world.letters()).toEqual([]);
    await world.close();
  });

  test("of another copy of the package mean the same", async () => {
    const foreign = Object.defineProperty(
      Object.assign(new Error("SNOOZE: later"), { code: "SNOOZE", delayMs: 60_000 }),
      Symbol.for("tasklane.error"),
      { value: true },
    );
    const { world, details, starts } = await run({}, ({ attempt }) => {
      if (attempt === 1) throw foreign;
    });
    expect(gaps(starts)).toEqual([60_000]);
    expect(details).toMatchObject({ state: "succeeded", snoozes: 1, failures: 0 });
    await world.close();
  });
});

describe("the three budgets", () => {
  test("are counted apart, and so are interruptions", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, maxRetries: 1, maxCrashes: 2, backoff: STEADY, timeout: "10m" });
    // Snooze, failure, crash, interruption, in this order; the fifth start succeeds.
    const handlers = (host: FlowHost) => [
      task.handle(async (_input, { attempt, signal }) => {
        if (attempt === 1) throw new SnoozeError("5s");
        if (attempt === 2) throw new Error("no luck");
        if (attempt <= 4) {
          await host.pause(400_000, signal);
          signal.throwIfAborted();
        }
      }),
    ];
    const { id, get } = await world.client.enqueue(task, {});
    const first = world.worker(handlers, { scheduler: false });
    await world.until(() => world.record(id).attempts === 3);
    await world.advance("1s");
    first.host.kill();
    const second = world.worker(handlers, { scheduler: false });
    await world.until(() => world.record(id).attempts === 4);
    await world.advance("1s");
    second.stop();
    expect(await world.during(second.ended)).toEqual({ reason: "signal", interrupted: 1 });
    world.worker(handlers);
    await world.until(() => world.record(id).state === "succeeded");
    expect(await get()).toMatchObject({ attempts: 5, failures: 1, crashes: 1, snoozes: 1, interruptions: 1 });
    expect(world.of("attempt-started", id).map(({ attempt }) => attempt)).toEqual([1, 2, 3, 4, 5]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("bound the starts of a handler, whatever it does", async () => {
    const world = await flowWorld({ seed: 3 });
    const task = defineTask({ name: "sample", input, maxRetries: 2, maxCrashes: 2, backoff: STEADY, timeout: "10m" });
    const does = ["crash", "fail", "snooze", "crash", "fail", "snooze", "fail", "crash"];
    const handlers = (host: FlowHost) => [
      task.handle(async (_input, { attempt }) => {
        const act = does[attempt - 1];
        if (act === "snooze") throw new SnoozeError("5s");
        if (act === "fail") throw new Error("no luck");
        host.kill();
        await host.pause(1);
      }),
    ];
    const { id } = await world.client.enqueue(task, {});
    let worker = world.worker(handlers);
    while (world.record(id).state !== "dead") {
      await world.until(() => worker.host.isDead || world.record(id).state === "dead", "30m");
      if (worker.host.isDead) worker = world.worker(handlers);
    }
    const { failures, crashes, snoozes, interruptions } = world.record(id);
    const starts = world.of("attempt-started", id).length;
    expect(world.record(id).attempts).toBe(starts);
    expect({ failures, crashes, snoozes, interruptions }).toEqual({
      failures: 1,
      crashes: 2,
      snoozes: 1,
      interruptions: 0,
    });
    expect(starts).toBe(4);
    expect(starts).toBeLessThanOrEqual(1 + task.maxRetries + task.maxCrashes + snoozes + interruptions);
    await world.close();
  });
});

describe("a lifetime", () => {
  test("bounds retries and snoozes together, and names itself", async () => {
    const { world, details, starts } = await run({ maxLifetime: "1h" }, () => {
      throw new SnoozeError("25m");
    });
    expect(details).toMatchObject({ state: "dead", reason: "LIFETIME_EXCEEDED", attempts: 3, snoozes: 3 });
    expect(starts.at(-1)?.at).toBeLessThanOrEqual(details.createdAt + 3_600_000);
    expect(await world.letters()).toMatchObject([{ reason: "LIFETIME_EXCEEDED" }]);
    await world.close();
  });

  test("ends a task that could not start in it, without a start", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, maxLifetime: "10m" });
    const { id } = await world.client.enqueue(task, {});
    await world.advance("11m");
    world.worker([task.handle(() => undefined)]);
    await world.advance("1s");
    expect(world.record(id)).toMatchObject({ state: "dead", reason: "LIFETIME_EXCEEDED" });
    expect(world.of("attempt-started")).toEqual([]);
    await world.close();
  });

  test("begins when the task is first due, however far ahead that is", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, maxLifetime: "10m" });
    world.worker([task.handle(() => undefined)]);
    const { id } = await world.client.enqueue(task, {}, { delay: "3h" });
    await world.advance("3h");
    expect(world.record(id).state).toBe("succeeded");
    await world.close();
  });
});

describe("a timeout", () => {
  test("aborts the signal, and fails the attempt with TIMEOUT", async () => {
    const reasons: unknown[] = [];
    const { world, details, starts } = await run({ timeout: "5s", maxRetries: 1 }, async ({ signal }, host) => {
      await host.pause(60_000, signal);
      reasons.push(signal.reason);
      signal.throwIfAborted();
    });
    expect(gaps(starts)).toEqual([15_000]);
    expect(details).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", failures: 2 });
    expect(details.history?.map(({ code }) => code)).toEqual(["TIMEOUT", "TIMEOUT"]);
    expect(reasons).toMatchObject([{ code: "TIMEOUT" }, { code: "TIMEOUT" }]);
    await world.close();
  });

  test("is no failure where the handler comes to an end within the grace: a success wins", async () => {
    const { world, details } = await run({ timeout: "5s" }, async (_ctx, host) => host.pause(9_000));
    expect(details).toMatchObject({ state: "succeeded", attempts: 1, failures: 0 });
    await world.close();
  });

  test("leaves a named error its meaning", async () => {
    const { world, details } = await run({ timeout: "5s" }, async ({ signal }, host) => {
      await host.pause(60_000, signal);
      throw new TerminalError("too late for it");
    });
    expect(details).toMatchObject({ state: "dead", reason: "TERMINAL", attempts: 1 });
    await world.close();
  });

  test("abandons a handler that ignores it, and drains the worker", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, timeout: "5s", maxRetries: 1, backoff: STEADY });
    const other = defineTask({ name: "other", input, timeout: "1m" });
    const first = world.worker((host) => [
      task.handle(() => new Promise(() => undefined)),
      other.handle((_input, { signal }) => host.pause(12_000, signal)),
    ]);
    const stuck = await world.client.enqueue(task, {});
    const neighbour = await world.client.enqueue(other, {});
    await world.until(() => first.end() !== undefined, "2m");
    expect(first.end()).toMatchObject({ reason: "drained" });
    expect(world.of("handler-abandoned")).toMatchObject([{ taskId: stuck.id }]);
    expect(await stuck.get()).toMatchObject({ state: "queued", failures: 1, history: [{ code: "TIMEOUT" }] });
    // What ran beside it went on to its end.
    expect(world.record(neighbour.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    world.worker([task.handle(() => undefined), other.handle(() => undefined)]);
    await world.advance("1m");
    expect(world.record(stuck.id)).toMatchObject({ state: "succeeded", attempts: 2 });
    await world.close();
  });
});

describe("a handler's context", () => {
  test("names task and attempt, and has one key for all attempts and a fence that only grows", async () => {
    const seen: { key: string; fence: number; attempt: number; taskId: string; task: string }[] = [];
    const { world, details } = await run({ maxRetries: 2 }, ({ idempotencyKey, fence, attempt, taskId, task }) => {
      seen.push({ key: idempotencyKey, fence, attempt, taskId, task });
      if (attempt < 3) throw new Error("again");
    });
    expect(seen.map(({ attempt }) => attempt)).toEqual([1, 2, 3]);
    expect(new Set(seen.map(({ key }) => key)).size).toBe(1);
    expect(seen.every(({ taskId, task }) => taskId === details.id && task === "sample")).toBe(true);
    const fences = seen.map(({ fence }) => fence);
    expect(fences).toEqual([...new Set(fences)].toSorted((one, other) => one - other));
    expect(fences[0]).toBeGreaterThan(details.createdAt);
    await world.close();
  });

  test("logs lines that carry the task, and one line for each attempt, never with the payload or the result", async () => {
    const world = await flowWorld();
    const secret = "canary-4711";
    const task = defineTask({
      name: "sample",
      input: z.object({ secret: z.string() }),
      output: z.object({ secret: z.string() }),
      backoff: STEADY,
    });
    const worker = world.worker([
      task.handle((given, ctx) => {
        ctx.log.info("at work", { step: 1 });
        if (ctx.attempt === 1) throw new Error("no luck");
        return given;
      }),
    ]);
    const { id } = await world.client.enqueue(task, { secret });
    await world.advance("1m");
    const lines = worker.log.filter(({ fields }) => fields["taskId"] !== undefined);
    expect(lines.map(({ level, message, fields }) => [level, message, fields["taskId"], fields["attempt"]])).toEqual([
      ["info", "at work", id, 1],
      ["warn", "attempt ended", id, 1],
      ["info", "at work", id, 2],
      ["info", "attempt ended", id, 2],
    ]);
    expect(lines[1]?.fields).toMatchObject({
      outcome: "retry",
      code: "ERROR",
      error: "Error: no luck",
      retryInMs: 10_000,
    });
    expect(JSON.stringify([worker.log, world.events])).not.toContain(secret);
    await world.close();
  });

  test("shows progress at most once a second, the last value wins, and it survives to the end", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, timeout: "1m" });
    world.worker((host) => [
      task.handle(async (_input, ctx) => {
        for (let step = 1; step <= 30; step++) {
          await ctx.progress({ step });
          await host.pause(100);
        }
      }),
    ]);
    const { get } = await world.client.enqueue(task, {});
    await world.advance("1500ms");
    expect((await get()).progress).toEqual({ step: 10 });
    await world.advance("10s");
    // The last one came too soon after a write of its own: it goes along with the settlement.
    expect(await get()).toMatchObject({ state: "succeeded", progress: { step: 30 } });
    expect(world.calls.filter(({ verb }) => verb === "renewMany").length).toBeLessThanOrEqual(4);
    await world.close();
  });

  test("keeps the record within its write unit, with progress and a result beside a payload", async () => {
    const world = await flowWorld();
    const task = defineTask({
      name: "sample",
      input: z.object({ text: z.string() }),
      output: z.string(),
      timeout: "1m",
    });
    world.worker((host) => [
      task.handle(async (given, ctx) => {
        for (let bytes = 50; bytes <= 900; bytes += 50) {
          await ctx.progress("p".repeat(bytes));
          await host.pause(bytes % 100 === 0 ? 1_000 : 10);
        }
        return given.text;
      }),
    ]);
    for (const bytes of [1, 100, 200, 240, 300]) {
      const { id, result } = await world.client.enqueue(
        task,
        { text: "t".repeat(bytes) },
        { meta: { by: "b".repeat(100) } },
      );
      await world.advance("20s");
      expect(world.record(id).progress?.length).toBeGreaterThan(10);
      expect(await result()).toBe("t".repeat(bytes));
    }
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("never lets progress fail the work: not what is no JSON, not what is too large, not a ledger that is away", async () => {
    const world = await flowWorld();
    const task = defineTask({ name: "sample", input, timeout: "1m" });
    world.worker((host) => [
      task.handle(async (_input, ctx) => {
        for (const value of [1n, "x".repeat(5_000), "fine"]) {
          await ctx.progress(value as string);
          await host.pause(1_100);
        }
      }),
    ]);
    world.faults = ({ verb }) => (verb === "renewMany" ? "refused" : undefined);
    const { id } = await world.client.enqueue(task, {});
    await world.advance("10s");
    expect(world.record(id)).toMatchObject({ state: "succeeded", failures: 0 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});
