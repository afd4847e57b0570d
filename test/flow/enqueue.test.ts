import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Faults } from "../../lib/memory/memory-faults.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueUnknownError, TasklaneError } from "../../lib/task/errors.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const order = defineTask({
  name: "order",
  input: z.object({ id: z.string(), amount: z.number().optional() }),
  idempotencyKey: ({ id }) => id,
  retention: "1d",
});
const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }) });

/** Strikes one verb as long as a test wants. */
function striking(verb: string, fault: ReturnType<Faults>, target?: string): Faults {
  return (call) => (call.verb === verb && (target === undefined || call.target === target) ? fault : undefined);
}

async function refusalOf(work: Promise<unknown>): Promise<TasklaneError> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!TasklaneError.is(error)) throw new Error(`It was not refused: ${String(error)}`);
  return error;
}

describe("the same idempotency key", () => {
  test("is one task, whoever asks for it and however the input's keys are ordered", async () => {
    const world = await flowWorld();
    const first = await world.client.enqueue(order, { id: "a", amount: 1 });
    const second = await world.clientOn(world.newHost()).enqueue(order, { amount: 1, id: "a" });
    expect([first.duplicate, second.duplicate, second.id === first.id]).toEqual([false, true, true]);
    expect(world.audit.records.size).toBe(1);
    expect(await world.take()).toHaveLength(1);
  });

  test("of 20 calls at once is one task, and one of the calls made it", async () => {
    const world = await flowWorld();
    const tasks = await Promise.all(Array.from({ length: 20 }, () => world.client.enqueue(order, { id: "a" })));
    expect(new Set(tasks.map((task) => task.id)).size).toBe(1);
    expect(tasks.filter((task) => !task.duplicate)).toHaveLength(1);
  });

  test("F30 with another input is IDEMPOTENCY_CONFLICT, and changes nothing of what was accepted", async () => {
    const world = await flowWorld();
    const { id } = await world.client.enqueue(order, { id: "a", amount: 1 });
    const before = world.record(id);
    const error = await refusalOf(world.client.enqueue(order, { id: "a", amount: 2 }));
    expect(error.code).toBe("IDEMPOTENCY_CONFLICT");
    expect(error.message).toContain(id);
    expect(world.record(id)).toEqual(before);
  });

  test("names different tasks for different definitions, and a key of the call goes before the definition's", async () => {
    const world = await flowWorld();
    const refs = [
      await world.client.enqueue(order, { id: "a" }),
      await world.client.enqueue(plain, { n: 1 }, { idempotencyKey: "a" }),
      await world.client.enqueue(order, { id: "a" }, { idempotencyKey: "b" }),
    ];
    expect(new Set(refs.map((task) => task.id)).size).toBe(3);
    expect(refs.map((task) => task.duplicate)).toEqual([false, false, false]);
  });

  test("tells a duplicate the state that the task is in", async () => {
    const world = await flowWorld();
    world.worker([order.handle(() => undefined)]);
    await world.client.enqueue(order, { id: "a" });
    await world.advance("1s");
    expect(await world.client.enqueue(order, { id: "a" })).toMatchObject({ duplicate: true, state: "succeeded" });
    await world.close();
  });

  test("F29 F30 is free again once the record has expired, though the store still holds it", async () => {
    const world = await flowWorld({ ttlLagMs: 30 * 86_400_000 });
    world.worker([order.handle(() => undefined)]);
    const first = await world.client.enqueue(order, { id: "a", amount: 1 });
    await world.advance("1s");
    const { expiresAt = 0, fence } = world.record(first.id);
    // Kept for as long as a message of it may arrive, though its retention is a day.
    expect(expiresAt - world.clock.now()).toBeGreaterThan(4 * 86_400_000);
    await world.close();
    world.clock.advanceTo(expiresAt - 1_000);
    expect((await world.client.enqueue(order, { id: "a", amount: 1 })).duplicate).toBe(true);
    world.clock.advanceTo(expiresAt);
    const again = await world.client.enqueue(order, { id: "a", amount: 2 });
    expect(again).toMatchObject({ id: first.id, duplicate: false, state: "queued" });
    // The fence does not restart though the record is new.
    expect(world.record(again.id).fence).toBeGreaterThan(fence);
    expect(world.record(again.id)).not.toHaveProperty("finishedAt");
  });
});

describe("a put that is not answered", () => {
  test("F20 F21 is ENQUEUE_UNKNOWN with the id, and calling again with it makes no second task", async () => {
    const world = await flowWorld();
    world.faults = striking("recordMany", "unanswered");
    const error = await refusalOf(world.client.enqueue(plain, { n: 1 }));
    expect(error).toBeInstanceOf(EnqueueUnknownError);
    const { taskId } = error as EnqueueUnknownError;
    world.faults = undefined;
    const task = await world.client.enqueue(plain, { n: 1 }, { id: taskId });
    expect(task).toMatchObject({ id: taskId, duplicate: true, state: "queued" });
    expect(world.audit.records.size).toBe(1);
  });

  test("F21 that was never written is made by calling again with its id", async () => {
    const world = await flowWorld();
    world.faults = striking("recordMany", "unanswered");
    const { taskId } = (await refusalOf(world.client.enqueue(plain, { n: 1 }))) as EnqueueUnknownError;
    const other = await flowWorld();
    const task = await other.client.enqueue(plain, { n: 1 }, { id: taskId });
    expect(task).toMatchObject({ id: taskId, duplicate: false });
  });

  test("F21 wakes the task, once a caller has come again after a moment", async () => {
    const world = await flowWorld();
    world.worker([plain.handle(() => undefined)]);
    world.faults = striking("recordMany", "unanswered");
    const { taskId } = (await refusalOf(world.client.enqueue(plain, { n: 1 }))) as EnqueueUnknownError;
    world.faults = undefined;
    await world.advance("3s");
    const task = await world.client.enqueue(plain, { n: 1 }, { id: taskId });
    await world.advance("1s");
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });

  test("F21 is a conflict if the id is used for another input, and a mistake together with a key", async () => {
    const world = await flowWorld();
    const { id } = await world.client.enqueue(plain, { n: 1 });
    expect((await refusalOf(world.client.enqueue(plain, { n: 2 }, { id }))).code).toBe("IDEMPOTENCY_CONFLICT");
    const both = world.client.enqueue(plain, { n: 1 }, { id, idempotencyKey: "k" });
    expect((await refusalOf(both)).code).toBe("OPTION_INVALID");
    expect((await refusalOf(world.client.enqueue(plain, { n: 1 }, { id: "../other" }))).code).toBe("OPTION_INVALID");
  });

  test("is no ENQUEUE_UNKNOWN where it was refused: nothing was accepted", async () => {
    const world = await flowWorld();
    world.faults = striking("recordMany", "refused");
    expect((await refusalOf(world.client.enqueue(plain, { n: 1 }))).code).toBe("BACKEND_UNAVAILABLE");
    expect(world.audit.records.size).toBe(0);
    expect(await world.take()).toEqual([]);
  });
});

describe("a message that is not sent", () => {
  async function enqueueUnsent(world: FlowWorld): Promise<string> {
    world.faults = striking("send", "refused");
    const { id } = await world.client.enqueue(plain, { n: 1 });
    world.faults = undefined;
    return id;
  }

  test("F21 leaves the task accepted and owed, and the scheduler sends it within a minute", async () => {
    const world = await flowWorld();
    const id = await enqueueUnsent(world);
    expect(world.record(id)).toMatchObject({ state: "queued", owedAt: world.clock.now() });
    expect(world.of("send-owed", id)).toHaveLength(1);
    world.worker([plain.handle(() => undefined)]);
    await world.advance("61s");
    expect(world.record(id).state).toBe("succeeded");
    expect(world.of("resent", id)).toMatchObject([{ because: "owed" }]);
    await world.close();
  });

  test("F21 is found by the pass over the creation index if not even the mark could be made", async () => {
    const world = await flowWorld();
    world.faults = (call) => (call.verb === "send" || call.verb === "changeMany" ? "refused" : undefined);
    const { id } = await world.client.enqueue(plain, { n: 1 });
    world.faults = undefined;
    expect(world.record(id)).not.toHaveProperty("owedAt");
    world.worker([plain.handle(() => undefined)]);
    await world.until(() => world.record(id).state === "succeeded", "12m");
    expect(world.clock.monotonic()).toBeGreaterThanOrEqual(600_000);
    await world.close();
  });

  test("F21 is found by the pass over the creation index if its caller died before the send", async () => {
    const world = await flowWorld();
    world.producer.onCall = ({ verb, phase }) => {
      if (verb === "recordMany" && phase === "after") world.producer.kill();
    };
    void world.client.enqueue(plain, { n: 1 });
    await world.settle();
    expect(world.audit.records.size).toBe(1);
    const [id = ""] = world.audit.records.keys();
    world.worker([plain.handle(() => undefined)]);
    await world.until(() => world.record(id).state === "succeeded", "12m");
    expect(world.of("attempt-started", id)).toHaveLength(1);
    await world.close();
  });

  test("F21 F30 of a key is sent when the same work is asked for again", async () => {
    const world = await flowWorld();
    world.producer.onCall = ({ verb, phase }) => {
      if (verb === "recordMany" && phase === "after") world.producer.kill();
    };
    void world.client.enqueue(order, { id: "a" });
    await world.advance("5s");
    expect(await world.clientOn(world.newHost()).enqueue(order, { id: "a" })).toMatchObject({ duplicate: true });
    expect(await world.take()).toHaveLength(1);
  });
});

describe("bytes beside the record", () => {
  const heavy = defineTask({ name: "heavy", input: z.object({ text: z.string() }), idempotencyKey: () => "one" });
  /** Too many different characters for compression to help. */
  const textFrom = (first: number): string =>
    Array.from({ length: 20_000 }, (_, at) => String.fromCharCode(0x4e00 + ((first + at * 7_919) % 20_000))).join("");

  test("F24 of a refused enqueue are an orphan at most, and never touch what was accepted", async () => {
    const world = await flowWorld();
    const { id } = await world.client.enqueue(heavy, { text: textFrom(0) });
    const kept = world.backend.payloads.keys();
    expect(kept).toHaveLength(1);
    const before = await world.backend.payloads.get(kept[0] ?? "");
    expect((await refusalOf(world.client.enqueue(heavy, { text: textFrom(1) }))).code).toBe("IDEMPOTENCY_CONFLICT");
    expect(await world.backend.payloads.get(kept[0] ?? "")).toEqual(before);
    for (const key of world.backend.payloads.keys()) expect(key).toMatch(new RegExp(`^d(30|100|400)/${id}/`));
  });

  test("F24 that cannot be stored mean that nothing was accepted", async () => {
    const world = await flowWorld();
    world.faults = striking("put", "unanswered");
    expect((await refusalOf(world.client.enqueue(heavy, { text: textFrom(0) }))).code).toBe("BACKEND_UNAVAILABLE");
    expect(world.audit.records.size).toBe(0);
    expect(await world.take()).toEqual([]);
  });
});

describe("a caller's mistake", () => {
  test.each<[string, Promise<unknown> | ((world: FlowWorld) => Promise<unknown>)]>([
    ["INPUT_INVALID", (world) => world.client.enqueue(plain, { n: "1" as unknown as number })],
    ["INPUT_NOT_JSON", (world) => world.client.enqueue(plain, { n: Number.NaN })],
    ["OPTION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { lane: "urgent" as "high" })],
    ["OPTION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { idempotencyKey: "" })],
    ["OPTION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { idempotencyKey: "k".repeat(1_025) })],
    ["OPTION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { runAt: new Date(Number.NaN) })],
    ["OPTION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { meta: { text: "x".repeat(3_000) } })],
    ["DURATION_INVALID", (world) => world.client.enqueue(plain, { n: 1 }, { delay: "soon" as "1s" })],
    ["LIFETIME_TOO_LONG", (world) => world.client.enqueue(plain, { n: 1 }, { delay: "400d" })],
  ])("is %s, and nothing is written or sent", async (code, call) => {
    const world = await flowWorld();
    const error = await refusalOf(typeof call === "function" ? call(world) : call);
    expect(error.code).toBe(code);
    expect(world.audit.records.size).toBe(0);
    expect(world.calls).toEqual([]);
  });
});
