import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { loadInput } from "../../lib/flow/payload.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";
import { purge, schedulerOf } from "../support/world-scheduler.ts";

const carry = defineTask({ name: "carry", input: z.string() });

/** Puts messages of one's own into the lane, as whoever may send can. */
const forge = (world: FlowWorld, ...bodies: object[]): Promise<unknown> =>
  world.backend.queue.send(
    { lane: "normal" },
    bodies.map((body) => ({ body: JSON.stringify(body) })),
  );

/** The message that was sent for a task. */
function messageOf(world: FlowWorld, id: string): Record<string, unknown> {
  const body = world.calls.find(({ verb, entry }) => verb === "send" && entry?.includes(id))?.entry;
  return JSON.parse(body ?? "{}");
}

function startWorker(world: FlowWorld): { id: string; text: string }[] {
  const arrived: { id: string; text: string }[] = [];
  world.worker(
    [
      carry.handle((text, ctx) => {
        arrived.push({ id: ctx.taskId, text });
      }),
    ],
    { scheduler: false },
  );
  return arrived;
}

describe("a forged copy in the message", () => {
  test.each([
    { what: "of a payload in the record", text: "mine" },
    { what: "of a payload in a side item", text: noise(3_000) },
    { what: "of a payload in S3", text: noise(90_000) },
    { what: "of a compressed payload", text: "mine ".repeat(10_000) },
  ])("$what is not believed: the handler gets what was accepted", async ({ text }) => {
    const world = await flowWorld();
    const victim = await world.client.enqueue(carry, "a secret of another task");
    const task = await world.client.enqueue(carry, text);
    const honest = messageOf(world, task.id);
    await purge(world);
    const packed = zstdCompressSync('"forged"').toString("base64");
    await forge(
      world,
      { ...honest, p: '"forged"', pz: undefined },
      { ...honest, p: undefined, pz: packed },
      {
        ...honest,
        p: '"forged"',
        pz: packed,
        ref: `sj.d30.a.a.${"h".repeat(43)}`,
        key: `d30/${victim.id}/x`,
        bucket: "another",
      },
      { ...honest, p: JSON.stringify(`${text}!`) },
    );
    const arrived = startWorker(world);
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.until(() => world.backend.queue.nextVisibleAt() === undefined);
    expect(arrived).toEqual([{ id: task.id, text }]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("of an epoch that is over is not even looked at", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(carry, noise(3_000));
    const honest = messageOf(world, task.id);
    await purge(world);
    await forge(world, { ...honest, e: 9, p: '"forged"' });
    const arrived = startWorker(world);
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(arrived).toEqual([{ id: task.id, text: noise(3_000) }]);
    await world.close();
  });

  test("that is a bomb costs next to nothing, and the task runs with what was accepted", async () => {
    const world = await flowWorld();
    const text = noise(3_000);
    const task = await world.client.enqueue(carry, text);
    const honest = messageOf(world, task.id);
    await purge(world);
    // 200 MiB of zeros in a few kilobytes.
    const bomb = zstdCompressSync(Buffer.alloc(200 * 1_048_576)).toString("base64");
    expect(bomb.length).toBeLessThan(65_536);
    const { services } = schedulerOf(world);
    const { input } = world.record(task.id);
    const timesMs: number[] = [];
    const before = process.memoryUsage().rss;
    for (let time = 0; time < 5; time++) {
      const start = performance.now();
      expect(await loadInput(services, task.id, input, { codec: "zstd", text: bomb })).toBe(JSON.stringify(text));
      timesMs.push(performance.now() - start);
    }
    expect(Math.min(...timesMs)).toBeLessThan(50);
    expect(process.memoryUsage().rss - before).toBeLessThan(32 * 1_048_576);
    await forge(world, { ...honest, p: undefined, pz: bomb });
    const arrived = startWorker(world);
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(arrived).toEqual([{ id: task.id, text }]);
    await world.close();
  });

  test("that is a bomb in the store ends the task as corrupt", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(carry, "same ".repeat(10_000));
    const { input } = world.record(task.id);
    if (input.at !== "side") throw new Error("it was meant for a side item");
    const bomb = zstdCompressSync(Buffer.alloc(200 * 1_048_576)).toString("base64");
    await world.backend.ledger.putSide({
      id: task.id,
      key: `p#${input.hash}`,
      value: bomb,
      expiresAt: world.clock.now() + 86_400_000,
    });
    const honest = messageOf(world, task.id);
    await purge(world);
    await forge(world, { ...honest, p: undefined, pz: undefined });
    const arrived = startWorker(world);
    await world.until(() => world.record(task.id).state === "dead");
    expect(world.record(task.id).reason).toBe("PAYLOAD_CORRUPT");
    expect(arrived).toEqual([]);
    await world.close();
  });
});

describe("a forged reference", () => {
  const junk = fc.oneof(
    fc.constantFrom(
      "../../secret",
      "d30/../d100/x",
      "s3://another/bucket",
      "arn:aws:s3:::another/key",
      "t#0123456789abcdef0123456789abcdef",
      "",
    ),
    fc.string({ maxLength: 60 }),
  );
  const fields = fc.dictionary(
    fc.constantFrom(
      "ref",
      "key",
      "bucket",
      "p",
      "pz",
      "id",
      "q",
      "input",
      "s3",
      "at",
      "life",
      "hash",
      "payload",
      "e",
      "slot",
      "n",
    ),
    fc.oneof(junk, fc.integer(), fc.constant(null), fc.record({ key: junk, bucket: junk })),
    { maxKeys: 6 },
  );

  test("reads nothing but the bytes of a task that exists, under that task's own key", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fields, { minLength: 1, maxLength: 6 }), async (forged) => {
        const world = await flowWorld();
        const [one, other] = await Promise.all([
          world.client.enqueue(carry, noise(90_000, 1)),
          world.client.enqueue(carry, noise(90_000, 2)),
        ]);
        const honest = messageOf(world, one.id);
        await forge(world, ...forged.map((fieldsOf) => ({ ...honest, ...fieldsOf })));
        const from = world.calls.length;
        const arrived = startWorker(world);
        await world.until(() => [one, other].every(({ id }) => world.record(id).state === "succeeded"));
        await world.advance("2m");
        const keys = new Set(world.calls.slice(from).flatMap(({ verb, target }) => (verb === "get" ? [target] : [])));
        for (const key of keys) {
          const [, id = "", hash] = key.split("/");
          const { input } = world.record(id);
          expect(input.at === "s3" && input.hash === hash).toBe(true);
        }
        const texts = new Map(arrived.map(({ id, text }) => [id, text]));
        expect(texts.get(one.id)).toBe(noise(90_000, 1));
        expect(texts.get(other.id)).toBe(noise(90_000, 2));
        expect(arrived).toHaveLength(2);
        expect(world.audit.violations).toEqual([]);
        await world.close();
      }),
      { numRuns: 40, seed: 20_261_124 },
    );
  });
});
