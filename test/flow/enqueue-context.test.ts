import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createClient } from "../../lib/client.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { TaskContext } from "../../lib/task/context.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { decodeBody } from "../../lib/task/envelope.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }) });
const TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

describe("meta", () => {
  test("tells who enqueued, and what the caller adds", async () => {
    const world = await flowWorld();
    const { backend, clock } = world;
    const client = createClient({
      backend,
      clock,
      random: seededRandom(7),
      submitter: { service: "shop", version: "1.2.3" },
    });
    const task = await client.enqueue(plain, { n: 1 }, { meta: { by: "checkout", service: "till" } });
    const { meta } = await task.get();
    expect(meta).toMatchObject({ by: "checkout", service: "till", version: "1.2.3" });
    expect(meta?.["host"]).toEqual(expect.any(String));
  });

  test.each([10, 1_900])("of %i characters is shown with the task, wherever it lies", async (length) => {
    const world = await flowWorld();
    const note = "x".repeat(length);
    const task = await world.client.enqueue(plain, { n: 1 }, { meta: { note } });
    expect((await task.get()).meta).toMatchObject({ note });
    expect(world.audit.violations).toEqual([]);
  });

  test("goes into the dead letter", async () => {
    const world = await flowWorld();
    world.worker([
      plain.handle(() => {
        throw new TerminalError("no");
      }),
    ]);
    await world.client.enqueue(plain, { n: 1 }, { meta: { by: "checkout" } });
    await world.client.enqueue(plain, { n: 2 }, { meta: { by: "b".repeat(500) } });
    await world.advance("1s");
    const letters = await world.letters();
    expect(letters.map(({ payload, meta }) => [payload, meta])).toEqual([
      ['{"n":1}', expect.objectContaining({ by: "checkout", host: expect.any(String) })],
      ['{"n":2}', expect.objectContaining({ by: "b".repeat(500) })],
    ]);
    await world.close();
  });
});

describe("W3C trace context", () => {
  test("goes with the message and the record, to the handler, and to what the handler enqueues", async () => {
    const world = await flowWorld();
    const seen: (string | undefined)[] = [];
    const child = defineTask({ name: "child", input: z.object({}) });
    world.worker([
      plain.handle(async (_input, ctx) => {
        seen.push(ctx.traceparent);
        await ctx.enqueue(child, {});
      }),
      child.handle((_input, ctx) => void seen.push(ctx.traceparent)),
    ]);
    const task = await world.client.enqueue(plain, { n: 1 }, { traceparent: TRACE });
    await world.advance("1s");
    expect(seen).toEqual([TRACE, TRACE]);
    expect((await task.get()).traceparent).toBe(TRACE);
    await world.close();
  });

  test("stays with a task over its retries", async () => {
    const world = await flowWorld();
    const seen: (string | undefined)[] = [];
    world.worker([
      plain.handle((_input, ctx) => {
        seen.push(ctx.traceparent);
        if (ctx.attempt < 3) throw new Error("again");
      }),
    ]);
    await world.client.enqueue(plain, { n: 1 }, { traceparent: TRACE });
    await world.advance("1m");
    expect(seen).toEqual([TRACE, TRACE, TRACE]);
    await world.close();
  });
});

describe("a lane", () => {
  test("of the call goes before the definition's", async () => {
    const world = await flowWorld({ spec: { lanes: ["critical", "high", "normal", "low"] } });
    const task = await world.client.enqueue(plain, { n: 1 }, { lane: "critical" });
    expect(world.record(task.id).lane).toBe("critical");
    expect(await world.take("critical")).toHaveLength(1);
    expect(await world.take("normal")).toEqual([]);
  });

  test("that is not deployed is carried by normal, and the task stays in it", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"] } });
    const task = await world.client.enqueue(plain, { n: 1 }, { lane: "low" });
    expect((await task.get()).lane).toBe("low");
    expect(await world.take("normal")).toHaveLength(1);
  });
});

describe("ctx.enqueue", () => {
  const parent = defineTask({
    name: "parent",
    input: z.object({ n: z.number() }),
    maxRetries: 5,
    backoff: { initial: "1s", factor: 1, jitter: "none" },
  });
  const child = defineTask({ name: "child", input: z.object({ part: z.string(), size: z.number().optional() }) });
  const keyed = defineTask({ name: "keyed", input: z.object({}), idempotencyKey: () => "the only one" });

  test("makes a child once per parent, though the parent is tried again", async () => {
    const world = await flowWorld();
    world.worker([
      parent.handle(async (_input, ctx) => {
        for (const part of ["a", "b", "a"]) await ctx.enqueue(child, { part });
        if (ctx.attempt < 4) throw new Error("after the children");
      }),
      child.handle(() => undefined),
    ]);
    await world.client.enqueue(parent, { n: 1 });
    await world.client.enqueue(parent, { n: 2 });
    await world.advance("1m");
    const children = [...world.audit.records.values()].filter((record) => record.task === "child");
    // Two parents with three children each: equal inputs of one attempt are two children.
    expect(children).toHaveLength(6);
    expect(children.every((record) => record.state === "succeeded" && record.attempts === 1)).toBe(true);
    await world.close();
  });

  test("knows the same child by its input, whatever the order of its keys", async () => {
    const world = await flowWorld();
    world.worker([
      parent.handle(async (_input, ctx) => {
        await ctx.enqueue(child, ctx.attempt === 1 ? { part: "a", size: 1 } : { size: 1, part: "a" });
        if (ctx.attempt === 1) throw new Error("again");
      }),
      child.handle(() => undefined),
    ]);
    await world.client.enqueue(parent, { n: 1 });
    await world.advance("1m");
    expect([...world.audit.records.values()].filter((record) => record.task === "child")).toHaveLength(1);
    await world.close();
  });

  test("takes a key of the child's own as it is: then parents share it", async () => {
    const world = await flowWorld();
    const duplicates: boolean[] = [];
    world.worker([
      parent.handle(async (_input, ctx) => void duplicates.push((await ctx.enqueue(keyed, {})).duplicate)),
      keyed.handle(() => undefined),
    ]);
    for (let n = 0; n < 3; n++) await world.client.enqueue(parent, { n });
    await world.advance("1s");
    expect(duplicates).toEqual([false, true, true]);
    await world.close();
  });

  test("fails the attempt with a typed error where the input is none, and the attempt is tried again", async () => {
    const world = await flowWorld();
    const errors: unknown[] = [];
    const enqueueWrong = (ctx: TaskContext): Promise<unknown> => ctx.enqueue(child, { part: 1n as unknown as string });
    world.worker([
      parent.handle(async (_input, ctx) => {
        if (ctx.attempt === 1) await enqueueWrong(ctx).catch((error: unknown) => void errors.push(error));
      }),
    ]);
    await world.client.enqueue(parent, { n: 1 });
    await world.advance("1s");
    expect(errors).toMatchObject([{ code: "INPUT_NOT_JSON" }]);
    await world.close();
  });

  test("sees QUEUE_FULL as any caller does", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 2 } });
    const errors: unknown[] = [];
    world.worker([
      parent.handle(async (_input, ctx) => {
        for (const part of ["a", "b", "c"])
          await ctx.enqueue(child, { part }).catch((error: unknown) => void errors.push(error));
      }),
    ]);
    await world.client.enqueue(parent, { n: 1 });
    await world.advance("1s");
    expect(errors[0]).toMatchObject({ code: "QUEUE_FULL" });
    await world.close();
  });
});

describe("a message", () => {
  test("names its queue, is ASCII, and holds the input as it was given, not as the schema makes it", async () => {
    const world = await flowWorld();
    const trimmed = defineTask({ name: "trimmed", input: z.object({ name: z.string().trim() }) });
    const seen: string[] = [];
    await world.client.enqueue(trimmed, { name: "  Zoë 😀 " });
    const [message] = await world.take();
    const decoded = decodeBody(message?.body ?? "");
    expect(message?.body).toMatch(/^[\x20-\x7e]+$/);
    expect(decoded).toMatchObject({ queue: "tasklane", payload: { text: '{"name":"  Zoë 😀 "}' } });
    world.worker([trimmed.handle(({ name }) => void seen.push(name))]);
    await world.advance("1s");
    expect(seen).toEqual(["Zoë 😀"]);
    await world.close();
  });
});
