import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueManyError, QueueFullError } from "../../lib/task/errors.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }) });
const urgent = defineTask({ name: "urgent", input: z.object({ n: z.number() }), lane: "high" });

async function put(world: FlowWorld, count: number): Promise<void> {
  for (let n = 0; n < count; n++) await world.client.enqueue(plain, { n });
}

async function refusalOf(work: Promise<unknown>): Promise<unknown> {
  return work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
}

function looks(world: FlowWorld): number {
  return world.calls.filter(({ verb }) => verb === "depth").length;
}

describe("a lane that fills up", () => {
  test("refuses at its limit with QUEUE_FULL, 503 and a time to come again, and writes nothing", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 10 } });
    await put(world, 10);
    const error = await refusalOf(world.client.enqueue(plain, { n: 11 }));
    expect(error).toBeInstanceOf(QueueFullError);
    expect(error).toMatchObject({ code: "QUEUE_FULL", statusCode: 503, retryAfter: 3, retryAfterMs: 3_000 });
    expect(world.audit.records.size).toBe(10);
  });

  test("takes tasks again once its depth was looked at again", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 10 } });
    await put(world, 10);
    const messages = await world.take("normal", 60_000);
    await world.backend.queue.acknowledge(
      { lane: "normal" },
      messages.map(({ receipt }) => receipt),
    );
    expect(await refusalOf(world.client.enqueue(plain, { n: 11 }))).toBeInstanceOf(QueueFullError);
    await world.advance("3s");
    expect(await refusalOf(world.client.enqueue(plain, { n: 11 }))).toBeUndefined();
  });

  test("warns from 80 %, once for each look at its depth", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 10 } });
    await put(world, 7);
    expect(world.of("backlog-warning")).toEqual([]);
    await put(world, 3);
    expect(world.of("backlog-warning")).toMatchObject([{ lane: "normal", backlog: 8, maxBacklog: 10 }]);
  });

  test("is looked at once a minute below half of its limit, and every few seconds above", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 10 } });
    await put(world, 4);
    await world.advance("59s");
    await put(world, 1);
    expect(looks(world)).toBe(1);
    await world.advance("2500ms");
    await put(world, 1);
    expect(looks(world)).toBe(2);
    await put(world, 1);
    await world.advance("2900ms");
    await put(world, 1);
    expect(looks(world)).toBe(2);
    await world.advance("200ms");
    await put(world, 1);
    expect(looks(world)).toBe(3);
  });

  test("is looked at once for many calls at the same time", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 100 } });
    await Promise.all(Array.from({ length: 30 }, (_, n) => world.client.enqueue(plain, { n })));
    expect(looks(world)).toBe(1);
  });

  test("stops no other lane", async () => {
    const world = await flowWorld({ spec: { lanes: ["high", "normal"], maxBacklog: { normal: 1, high: 5 } } });
    await put(world, 1);
    expect(await refusalOf(world.client.enqueue(plain, { n: 2 }))).toBeInstanceOf(QueueFullError);
    expect(await refusalOf(world.client.enqueue(urgent, { n: 1 }))).toBeUndefined();
  });

  test("counts for the lanes that it carries, since they are not deployed", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 2 } });
    await put(world, 1);
    expect(await refusalOf(world.client.enqueue(urgent, { n: 1 }))).toBeUndefined();
    expect(await refusalOf(world.client.enqueue(urgent, { n: 2 }))).toBeInstanceOf(QueueFullError);
  });

  test("takes the entries of a batch that still fit, refuses the rest, and takes those of other lanes", async () => {
    const world = await flowWorld({ spec: { lanes: ["high", "normal"], maxBacklog: { normal: 2, high: 10 } } });
    const given = Array.from({ length: 6 }, (_, n) => ({
      input: { n },
      options: { lane: n % 2 === 0 ? ("normal" as const) : ("high" as const) },
    }));
    const error = await refusalOf(world.client.enqueueMany(plain, given));
    if (!(error instanceof EnqueueManyError)) throw new Error("nothing was refused");
    expect(error.failed.map(({ index, error: { code } }) => [index, code])).toEqual([[4, "QUEUE_FULL"]]);
    expect(error.accepted.map(({ index }) => index)).toEqual([0, 1, 2, 3, 5]);
  });

  test("F49 whose depth cannot be read takes tasks in, and says so", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"], maxBacklog: 1 } });
    world.faults = ({ verb }) => (verb === "depth" ? "refused" : undefined);
    await put(world, 3);
    expect(world.audit.records.size).toBe(3);
    expect(world.of("depth-unknown")).toHaveLength(3);
  });
});
