import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueManyError } from "../../lib/task/errors.ts";
import type { EnqueuedTask, EnqueueEntry } from "../../lib/task/task-ref.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }) });
const keyed = defineTask({ name: "keyed", input: z.object({ n: z.number() }), idempotencyKey: ({ n }) => `k${n}` });

async function failureOf(work: Promise<unknown>): Promise<EnqueueManyError<EnqueuedTask>> {
  const error = await work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );
  if (!(error instanceof EnqueueManyError)) throw new Error(`Nothing was refused: ${String(error)}`);
  return error;
}

function entries(count: number): EnqueueEntry<typeof plain>[] {
  return Array.from({ length: count }, (_, n) => ({ input: { n } }));
}

describe("enqueueMany", () => {
  test("of 10,000 entries answers in their order, and puts each in the queue once", async () => {
    const world = await flowWorld();
    const tasks = await world.client.enqueueMany(plain, entries(10_000));
    expect(tasks).toHaveLength(10_000);
    expect(new Set(tasks.map((task) => task.id)).size).toBe(10_000);
    for (const [n, { id }] of tasks.entries())
      expect(world.record(id).input).toEqual({ at: "record", json: `{"n":${n}}` });
    expect(await world.backend.queue.depth({ lane: "normal" })).toMatchObject({ visible: 10_000 });
  });

  test("of nothing does nothing", async () => {
    const world = await flowWorld();
    expect(await world.client.enqueueMany(plain, [])).toEqual([]);
    expect(world.calls).toEqual([]);
  });

  test("takes what is right, and tells what is wrong by its place", async () => {
    const world = await flowWorld();
    const { id } = await world.client.enqueue(keyed, { n: 7 });
    const given: EnqueueEntry<typeof keyed>[] = [
      { input: { n: 1 } },
      { input: { n: "2" as unknown as number } },
      { input: { n: 3 }, options: { delay: "10m" } },
      { input: { n: 4 }, options: { idempotencyKey: "k7" } },
      { input: { n: 7 } },
      { input: { n: 1 } },
    ];
    const error = await failureOf(world.client.enqueueMany(keyed, given));
    expect(error.code).toBe("ENQUEUE_MANY_FAILED");
    expect(error.failed.map(({ index, error: { code } }) => [index, code])).toEqual([
      [1, "INPUT_INVALID"],
      [3, "IDEMPOTENCY_CONFLICT"],
    ]);
    expect(error.accepted.map(({ index, task }) => [index, task.duplicate])).toEqual([
      [0, false],
      [2, false],
      [4, true],
      [5, true],
    ]);
    expect(error.accepted[2]?.task.id).toBe(id);
  });

  test("F20 tells which entries may or may not be in, each with its id", async () => {
    const world = await flowWorld();
    let writes = 0;
    world.faults = ({ verb }) => (verb === "recordMany" && ++writes % 3 === 0 ? "unanswered" : undefined);
    const error = await failureOf(world.client.enqueueMany(plain, entries(9)));
    expect(error.failed.map(({ index, error: { code } }) => [index, code])).toEqual([
      [2, "ENQUEUE_UNKNOWN"],
      [5, "ENQUEUE_UNKNOWN"],
      [8, "ENQUEUE_UNKNOWN"],
    ]);
    world.faults = undefined;
    const again = error.failed.map(({ index, error: cause }) => ({
      input: { n: index },
      options: { id: "taskId" in cause ? String(cause.taskId) : undefined },
    }));
    const tasks = await world.client.enqueueMany(plain, again);
    expect(tasks.map((task) => task.duplicate)).toEqual([true, true, true]);
    expect(world.audit.records.size).toBe(9);
  });

  test("F23 of a batch that the queue takes in part leaves the rest owed, and the scheduler sends it within a minute", async () => {
    const world = await flowWorld();
    let sends = 0;
    world.faults = ({ verb }) => (verb === "send" && ++sends % 4 === 0 ? "refused" : undefined);
    const tasks = await world.client.enqueueMany(plain, entries(40));
    expect(world.of("send-owed")).toHaveLength(10);
    world.faults = undefined;
    world.worker([plain.handle(() => undefined)]);
    await world.advance("61s");
    for (const { id } of tasks) {
      expect(world.record(id).state).toBe("succeeded");
      expect(world.of("attempt-started", id)).toHaveLength(1);
    }
    await world.close();
  });

  test("goes on where one entry's key function throws", async () => {
    const world = await flowWorld();
    const fragile = defineTask({
      name: "fragile",
      input: z.object({ order: z.object({ id: z.string() }).optional() }),
      idempotencyKey: (input) => (input as { order: { id: string } }).order.id,
    });
    const given = [{ input: { order: { id: "a" } } }, { input: {} }, { input: { order: { id: "b" } } }];
    const error = await failureOf(world.client.enqueueMany(fragile, given));
    expect(error.failed.map(({ index, error: { code } }) => [index, code])).toEqual([[1, "OPTION_INVALID"]]);
    expect(error.accepted.map(({ index }) => index)).toEqual([0, 2]);
  });
});
