import type { StandardSchemaV1 } from "@standard-schema/spec";
import { afterEach, beforeEach, describe, expect, onTestFinished, test, vi } from "vitest";
import { z } from "zod";
import { createClient } from "../../lib/client.ts";
import { makeServices } from "../../lib/flow/services.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import { nextTurn } from "../../lib/system.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { TaskHandler } from "../../lib/task/define-task.ts";
import type { EventListener } from "../../lib/task/events.ts";
import type { Json } from "../../lib/task/json.ts";
import { jsonLogger } from "../../lib/worker-log.ts";
import type { WorkerOptions } from "../../lib/worker.ts";
import { createWorker } from "../../lib/worker.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { depthOf } from "../support/world-scheduler.ts";

/** A worker of the world's stores with nothing of the world's own around it. */
function bareWorker(world: FlowWorld, handlers: TaskHandler[], options: Partial<WorkerOptions>): () => Promise<void> {
  const stop = new AbortController();
  const random = seededRandom(3);
  const { backend, clock } = world;
  const ended = createWorker({ log: () => undefined, ...options, handlers, backend, clock, random }).run({
    signal: stop.signal,
  });
  return async () => {
    stop.abort();
    await world.during(ended, "5m");
  };
}

const rejects: () => unknown = async () => {
  await Promise.resolve();
  throw new Error("the metrics are down");
};
const throws: () => unknown = () => {
  throw new Error("the metrics are down");
};
const broken: Record<string, EventListener> = { "is async and rejects": rejects, throws };

describe("listeners of the app's that fail", () => {
  const unhandled: unknown[] = [];
  const note = (reason: unknown): void => void unhandled.push(reason);
  beforeEach(() => {
    unhandled.length = 0;
    process.on("unhandledRejection", note);
  });
  afterEach(() => void process.off("unhandledRejection", note));

  const well = defineTask({ name: "well", input: z.object({ n: z.number() }) });
  const ill = defineTask({ name: "ill", input: z.object({ n: z.number() }), maxRetries: 1 });
  const handlers = [
    well.handle((_input, ctx) => ctx.log.info("at work")),
    ill.handle(() => {
      throw new Error("as always");
    }),
  ];

  /** Lets a few tasks of both kinds come to their end, and tells how they ended and what is left. */
  async function runSome(options: Partial<WorkerOptions>, onEvent?: EventListener): Promise<unknown> {
    const world = await flowWorld();
    const client = createClient({ backend: world.backend, clock: world.clock, random: seededRandom(4), onEvent });
    const stop = bareWorker(world, handlers, { concurrency: 2, ...options });
    const good = await client.enqueueMany(
      well,
      Array.from({ length: 6 }, (_, n) => ({ input: { n } })),
    );
    const bad = await client.enqueue(ill, { n: 1 });
    await world.advance("10m");
    const ends = [...good, bad].map(({ id }) => {
      const { state, attempts, crashes } = world.record(id);
      return `${state} after ${attempts}, ${crashes} crashes`;
    });
    const letters = (await world.letters()).length;
    const depth = await depthOf(world);
    await stop();
    await nextTurn();
    return { ends, letters, depth, unhandled };
  }

  const NOTHING_LOST = {
    ends: [...Array.from({ length: 6 }, () => "succeeded after 1, 0 crashes"), "dead after 2, 0 crashes"],
    letters: 1,
    // Nothing visible, nothing delayed, nothing kept out of sight.
    depth: 0,
    unhandled: [],
  };

  test.for(Object.keys(broken))("an onEvent that %s loses no task and leaves no rejection", async (how) => {
    expect(await runSome({ onEvent: broken[how] }, broken[how])).toEqual(NOTHING_LOST);
  });

  test.for(Object.keys(broken))("services whose onEvent %s emit all the same", async (how) => {
    const world = await flowWorld();
    const seen: string[] = [];
    const services = makeServices({
      backend: world.backend,
      clock: world.clock,
      random: seededRandom(5),
      onEvent: (event) => {
        seen.push(event.type);
        return broken[how]?.(event);
      },
    });
    services.emit({ type: "scheduler-failed", error: "none" });
    await nextTurn();
    expect(seen).toEqual(["scheduler-failed"]);
    expect(unhandled).toEqual([]);
  });

  test("a log that throws loses no task and hides no message", async () => {
    let lines = 0;
    const log = (): void => {
      lines++;
      throw new Error("EPIPE");
    };
    expect(await runSome({ log })).toEqual(NOTHING_LOST);
    expect(lines).toBeGreaterThan(0);
  });
});

describe("ctx.log", () => {
  const cycle: { self?: unknown } = {};
  cycle.self = cycle;

  test.for([
    { what: "a BigInt", value: 10n, written: '"value":"10"' },
    { what: "a cycle", value: cycle, written: '"unwritable"' },
  ])("with $what does not fail the task", async ({ value, written }) => {
    const lines: string[] = [];
    const spy = vi.spyOn(process.stdout, "write").mockImplementation((chunk) => lines.push(String(chunk)) > 0);
    onTestFinished(() => spy.mockRestore());
    const world = await flowWorld();
    const task = defineTask({ name: "chatty", input: z.object({}), maxRetries: 0 });
    const handlers = [task.handle((_input, ctx) => ctx.log.info("a number", { value: value as unknown as Json }))];
    const stop = bareWorker(world, handlers, { log: jsonLogger(world.clock) });
    const { id } = await world.client.enqueue(task, {});
    await world.advance("1m");
    await stop();
    spy.mockRestore();
    expect(world.record(id)).toMatchObject({ state: "succeeded", attempts: 1, failures: 0 });
    expect(lines.filter((line) => line.includes('"a number"'))).toEqual([expect.stringContaining(written)]);
  });
});

/** A schema that does as it is told at the moment. */
function schemaOf(validate: StandardSchemaV1<string>["~standard"]["validate"]): StandardSchemaV1<string> {
  return { "~standard": { version: 1, vendor: "test", validate } };
}

const NEVER = new Promise<never>(() => undefined);

describe("a schema that never answers", () => {
  test("of the input ends the attempt at the task's timeout", async () => {
    const world = await flowWorld();
    let hangs = false;
    const schema = schemaOf((value) => (hangs ? NEVER : { value: String(value) }));
    const task = defineTask({ name: "hung", input: schema, timeout: "10s", maxRetries: 0 });
    const { id } = await world.client.enqueue(task, "x");
    hangs = true;
    const started: string[] = [];
    world.worker([task.handle((input) => void started.push(input))], { scheduler: false });
    await world.until(() => world.record(id).state === "running", "1m");
    const from = world.clock.now();
    await world.until(() => world.record(id).state === "dead", "10h");
    expect(world.clock.now() - from).toBeLessThanOrEqual(11_000);
    expect((await world.client.task(task, id).get()).history).toMatchObject([{ code: "TIMEOUT" }]);
    expect(started).toEqual([]);
    await world.advance("1m");
    expect(await depthOf(world)).toBe(0);
    await world.close();
  });

  test("of the output ends the attempt at the task's timeout and the grace after it", async () => {
    const world = await flowWorld();
    const schema = schemaOf(() => NEVER);
    const task = defineTask({ name: "hung", input: z.object({}), output: schema, timeout: "10s", maxRetries: 0 });
    world.worker([task.handle(() => "done")], { scheduler: false });
    const { id } = await world.client.enqueue(task, {});
    await world.until(() => world.of("attempt-started", id).length === 1, "1m");
    const from = world.clock.now();
    await world.until(() => world.record(id).state === "dead", "10h");
    expect(world.clock.now() - from).toBeLessThanOrEqual(16_000);
    expect((await world.client.task(task, id).get()).history).toMatchObject([{ code: "TIMEOUT" }]);
    await world.advance("1m");
    expect(await depthOf(world)).toBe(0);
    await world.close();
  });
});

describe("20,000 issues of a schema", () => {
  const ISSUES = 20_000;
  const TEXT_MAX_CHARS = 3_000;
  const issues = Array.from({ length: ISSUES }, (_, n) => ({
    message: `expected a number, got ${"y".repeat(1_000)}`,
    path: ["list", n],
  }));

  test.for(["input", "output"] as const)(
    "of the %s give a short failure text to record, events and log",
    async (side) => {
      const world = await flowWorld();
      let bad = false;
      const schema = schemaOf((value) => (bad ? { issues } : { value: String(value) }));
      const sides = { input: z.string(), output: z.string(), [side]: schema };
      const task = defineTask({ name: "picky", ...sides, maxRetries: 0 });
      const { id } = await world.client.enqueue(task, "x");
      bad = true;
      const worker = world.worker([task.handle(() => "done")]);
      await world.until(() => world.of("attempt-ended", id).length > 0, "1m");
      const lines = worker.log.map((line) => JSON.stringify(line));
      expect(Math.max(...lines.map((line) => line.length))).toBeLessThan(TEXT_MAX_CHARS);
      expect(Math.max(...worker.events.map((event) => JSON.stringify(event).length))).toBeLessThan(TEXT_MAX_CHARS);
      expect(worker.log.some(({ fields }) => String(fields["error"]).includes("list.0"))).toBe(true);
      bad = false;
      const { history = [] } = await world.client.task(task, id).get();
      expect(Math.max(0, ...history.map(({ message }) => message.length))).toBeLessThan(TEXT_MAX_CHARS);
      await world.close();
    },
  );
});
