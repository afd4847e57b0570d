import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import type { PayloadRef } from "../../lib/task/payload-ref.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";
import { schedulerOf } from "../support/world-scheduler.ts";

const DAY_MS = 86_400_000;
const carry = defineTask({
  name: "carry",
  input: z.string(),
  output: z.string(),
  maxRetries: 1,
  backoff: { initial: "1s", factor: 1, jitter: "none" },
});
/** Too large for a copy in the message, so that its object has to be read. */
const LARGE = noise(90_000);

/** Enqueues a large text, and answers the key of its object. */
async function large(world: FlowWorld): Promise<{ id: string; key: string }> {
  const { id } = await world.client.enqueue(carry, LARGE);
  const key = world.backend.payloads.keys().find((each) => each.includes(id)) ?? "";
  expect(key).toMatch(new RegExp(`^d(?:30|100|400)/${id}/[A-Za-z0-9_-]{43}$`));
  return { id, key };
}

function startWorker(world: FlowWorld): string[] & { stop(): void } {
  const arrived: string[] = [];
  const worker = world.worker(
    [
      carry.handle((text) => {
        arrived.push(text);
        return "done";
      }),
    ],
    { scheduler: false },
  );
  return Object.assign(arrived, { stop: () => worker.stop() });
}

const reads = (world: FlowWorld): number => world.calls.filter(({ verb }) => verb === "get").length;

describe("F25 a payload that is gone", () => {
  test("is looked for three times, and then its task is dead without an attempt at the handler", async () => {
    const world = await flowWorld();
    const { id, key } = await large(world);
    world.backend.payloads.remove(key);
    const arrived = startWorker(world);
    await world.until(() => world.record(id).state === "dead");
    expect(world.record(id)).toMatchObject({ reason: "PAYLOAD_MISSING", failures: 0 });
    expect([...arrived]).toEqual([]);
    expect(reads(world)).toBeGreaterThanOrEqual(3);
    expect(world.record(id).message).toContain(id);
    await world.advance("1m");
    const [letter] = await world.letters();
    expect(letter).toMatchObject({ id, reason: "PAYLOAD_MISSING" });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("and comes back in time is read as if nothing had been", async () => {
    const world = await flowWorld();
    const { id, key } = await large(world);
    const bytes = (await world.backend.payloads.get(key)) ?? new Uint8Array();
    world.backend.payloads.remove(key);
    const before = reads(world);
    startWorker(world);
    await world.until(() => reads(world) - before === 2);
    world.backend.payloads.overwrite(key, bytes);
    await world.until(() => world.record(id).state === "succeeded");
    expect(world.record(id)).toMatchObject({ attempts: 1, failures: 0 });
    await world.close();
  });

  test("from a side item ends the same way, and a redrive with the input mends it", async () => {
    const world = await flowWorld({ ttlLagMs: 0 });
    const text = noise(3_000);
    // No copy goes along with a message that the scheduler sends.
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
    const task = await world.client.enqueue(carry, text);
    world.faults = undefined;
    const { input } = world.record(task.id);
    if (input.at !== "side") throw new Error("it was meant for a side item");
    await world.backend.ledger.putSide({
      id: task.id,
      key: `p#${input.hash}`,
      value: "gone",
      expiresAt: world.clock.now() - 1,
    });
    const arrived = startWorker(world);
    await schedulerOf(world).run();
    await world.until(() => world.record(task.id).state === "dead");
    expect(world.record(task.id)).toMatchObject({ reason: "PAYLOAD_MISSING" });
    await task.redrive({ input: text });
    await world.until(() => world.record(task.id).state === "succeeded");
    expect([...arrived]).toEqual([text]);
    await world.close();
  });

  test("whose task is redriven without its input dies of it again, and is not lost", async () => {
    const world = await flowWorld();
    const { id, key } = await large(world);
    world.backend.payloads.remove(key);
    startWorker(world);
    await world.until(() => world.record(id).state === "dead");
    await world.client.task(carry, id).redrive();
    await world.until(() => world.record(id).state === "dead" && world.record(id).epoch === 2);
    expect(world.record(id)).toMatchObject({ reason: "PAYLOAD_MISSING" });
    await world.client.task(carry, id).redrive({ input: LARGE });
    await world.until(() => world.record(id).state === "succeeded");
    expect(world.audit.commitsOf(id)).toBe(3);
    await world.close();
  });
});

describe("F26 a payload that is not what was written", () => {
  test.each([
    { what: "one byte differs", alter: (bytes: Uint8Array) => bytes.with(5_000, (bytes[5_000] ?? 0) ^ 1) },
    { what: "it is cut short", alter: (bytes: Uint8Array) => bytes.slice(0, -1) },
    { what: "it is longer", alter: (bytes: Uint8Array) => Uint8Array.from([...bytes, 0x20]) },
    { what: "it is empty", alter: () => new Uint8Array() },
    { what: "it is another text of the same length", alter: (bytes: Uint8Array) => bytes.map(() => 0x20) },
    { what: "it is no UTF-8", alter: (bytes: Uint8Array) => bytes.with(5_000, 0xff) },
    {
      what: "a byte order mark was put before it",
      alter: (bytes: Uint8Array) => Uint8Array.from([0xef, 0xbb, 0xbf, ...bytes]),
    },
  ])("ends its task, and no handler sees it: $what", async ({ alter }) => {
    const world = await flowWorld();
    const { id, key } = await large(world);
    const bytes = await world.backend.payloads.get(key);
    world.backend.payloads.overwrite(key, alter(bytes ?? new Uint8Array()));
    const arrived = startWorker(world);
    await world.until(() => world.record(id).state === "dead");
    expect(world.record(id)).toMatchObject({ reason: "PAYLOAD_CORRUPT", failures: 0 });
    expect([...arrived]).toEqual([]);
    await world.close();
  });

  test("in a side item ends it as well, compressed or not", async () => {
    const world = await flowWorld();
    const texts = [noise(3_000), "same ".repeat(20_000)];
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
    const ids: string[] = [];
    for (const text of texts) {
      const { id } = await world.client.enqueue(carry, text);
      const input: PayloadRef = world.record(id).input;
      if (input.at !== "side") throw new Error("it was meant for a side item");
      const key = `p#${input.hash}`;
      const [item] = await world.backend.ledger.readSides(id, key);
      const value = item?.value ?? "";
      const at = value.length >> 1;
      await world.backend.ledger.putSide({
        id,
        key,
        value: value.slice(0, at) + (value[at] === "a" ? "b" : "a") + value.slice(at + 1),
        expiresAt: world.clock.now() + DAY_MS,
      });
      ids.push(id);
    }
    world.faults = undefined;
    startWorker(world);
    await schedulerOf(world).run();
    await world.until(() => ids.every((id) => world.record(id).state === "dead"));
    for (const id of ids) expect(world.record(id).reason).toBe("PAYLOAD_CORRUPT");
    await world.close();
  });

  test("in a result is told to whoever asks for it", async () => {
    const world = await flowWorld();
    const give = defineTask({ name: "give", input: z.number(), output: z.string() });
    world.worker([give.handle((length) => noise(length))], { scheduler: false });
    const task = await world.client.enqueue(give, 90_000);
    await world.until(() => world.record(task.id).state === "succeeded");
    const [key = ""] = world.backend.payloads.keys();
    expect(key).toContain(`/${task.id}/${world.record(task.id).fence}`);
    world.backend.payloads.overwrite(key, new TextEncoder().encode('"another"'));
    await expect(world.during(task.result())).rejects.toMatchObject({ code: "PAYLOAD_CORRUPT" });
    world.backend.payloads.remove(key);
    await expect(world.during(task.result())).rejects.toMatchObject({ code: "PAYLOAD_MISSING" });
    await world.close();
  });
});

describe("F25 a store that does not answer", () => {
  test("says nothing about the payload: the task waits, no attempt is charged, and then it runs", async () => {
    const world = await flowWorld();
    const { id } = await large(world);
    world.faults = ({ verb }) => (verb === "get" ? "refused" : undefined);
    const arrived = startWorker(world);
    await world.advance("30m");
    expect(world.record(id)).toMatchObject({ state: "queued", attempts: 0, failures: 0, crashes: 0 });
    expect(world.of("deferred", id).length).toBeGreaterThan(100);
    expect(new Set(world.of("deferred", id).map(({ reason }) => reason))).toEqual(new Set(["unavailable"]));
    world.faults = undefined;
    await world.until(() => world.record(id).state === "succeeded");
    expect([...arrived]).toEqual([LARGE]);
    expect(world.record(id)).toMatchObject({ attempts: 1, failures: 0 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("nor does a ledger that does not give a side item", async () => {
    const world = await flowWorld();
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
    const task = await world.client.enqueue(carry, noise(3_000));
    world.faults = ({ verb }) => (verb === "readSides" ? "refused" : undefined);
    startWorker(world);
    await schedulerOf(world).run();
    await world.advance("5m");
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0, failures: 0 });
    world.faults = undefined;
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(world.record(task.id)).toMatchObject({ attempts: 1 });
    await world.close();
  });

  test("keeps a result from being lost: it is stored and settled once the store answers", async () => {
    const world = await flowWorld();
    const give = defineTask({ name: "give", input: z.number(), output: z.string() });
    let runs = 0;
    world.worker(
      [
        give.handle((length) => {
          runs++;
          return noise(length);
        }),
      ],
      { scheduler: false },
    );
    world.faults = ({ verb }) => (verb === "put" ? "refused" : undefined);
    const task = await world.client.enqueue(give, 90_000);
    await world.advance("5m");
    expect(world.record(task.id).state).toBe("running");
    world.faults = undefined;
    expect(await world.during(task.result())).toBe(noise(90_000));
    expect(runs).toBe(1);
    expect(world.record(task.id)).toMatchObject({ attempts: 1, failures: 0 });
    await world.close();
  });
});

describe("F24 an object without a task", () => {
  test("is all that is left of an enqueue that failed after it; its lifecycle deletes it", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "recordMany" ? "refused" : undefined);
    await expect(world.client.enqueue(carry, LARGE)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    world.faults = undefined;
    const orphans = world.backend.payloads.keys();
    expect(orphans).toHaveLength(1);
    expect(world.audit.records.size).toBe(0);
    // The next call makes a task with an object of its own.
    const { id } = await large(world);
    const worker = startWorker(world);
    await world.until(() => world.record(id).state === "succeeded");
    worker.stop();
    expect(world.backend.payloads.keys()).toHaveLength(2);
    await world.advance(102 * DAY_MS);
    expect(world.backend.payloads.keys()).toEqual([]);
    await world.close();
  });

  test("is left by a producer that dies in between, and nothing was accepted", async () => {
    const world = await flowWorld();
    const host = world.newHost();
    host.onCall = ({ verb, phase }) => {
      if (verb === "put" && phase === "after") host.kill();
    };
    void world.clientOn(host).enqueue(carry, LARGE);
    await world.settle();
    expect(host.isDead).toBe(true);
    expect(world.backend.payloads.keys()).toHaveLength(1);
    expect(world.audit.records.size).toBe(0);
    const scheduler = schedulerOf(world);
    await scheduler.runEach(12);
    expect(scheduler.resent()).toEqual([]);
    await world.close();
  });

  test("never comes about where the store refuses: then there is no task either", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "put" ? "refused" : undefined);
    await expect(world.client.enqueue(carry, LARGE)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    expect(world.audit.records.size).toBe(0);
    expect(world.calls.filter(({ verb }) => verb === "recordMany" || verb === "send")).toEqual([]);
    await world.close();
  });

  test("does not come of a duplicate: what was accepted is neither stored twice nor touched", async () => {
    const world = await flowWorld();
    const first = await world.client.enqueue(carry, LARGE, { idempotencyKey: "the same" });
    const keys = world.backend.payloads.keys();
    const again = await world.client.enqueue(carry, LARGE, { idempotencyKey: "the same" });
    expect(again).toMatchObject({ id: first.id, duplicate: true });
    expect(world.backend.payloads.keys()).toEqual(keys);
    // The same key with another input is refused, and cannot touch what was accepted.
    await expect(world.client.enqueue(carry, noise(90_000, 2), { idempotencyKey: "the same" })).rejects.toMatchObject({
      code: "IDEMPOTENCY_CONFLICT",
    });
    const arrived = startWorker(world);
    await world.until(() => world.record(first.id).state === "succeeded");
    expect([...arrived]).toEqual([LARGE]);
    await world.close();
  });
});

describe("F29 items whose time is over, which TTL has not removed", () => {
  const brief = defineTask({
    name: "brief",
    input: z.object({ key: z.string(), fail: z.boolean(), text: z.string() }),
    idempotencyKey: ({ key }) => key,
    retention: "1d",
    maxRetries: 2,
    backoff: { initial: "1s", factor: 1, jitter: "none" },
  });

  test("count as absent: the same key makes a new task, with nothing left of the old one", async () => {
    const world = await flowWorld({ ttlLagMs: 30 * DAY_MS });
    let fail = true;
    const worker = world.worker(
      [
        brief.handle(() => {
          if (fail) {
            fail = false;
            throw new Error("the first time fails");
          }
        }),
      ],
      { scheduler: false },
    );
    const text = noise(3_000);
    const first = await world.client.enqueue(
      brief,
      { key: "k", fail: true, text },
      { meta: { of: "first", more: "m".repeat(200) } },
    );
    await world.until(() => world.record(first.id).state === "succeeded");
    expect((await first.get()).history).toHaveLength(1);
    const { expiresAt = 0, createdAt } = world.record(first.id);
    // The record is kept a day longer than any message of it can live.
    expect(expiresAt - createdAt).toBeGreaterThanOrEqual(5 * DAY_MS);
    expect(await world.client.enqueue(brief, { key: "k", fail: true, text })).toMatchObject({
      id: first.id,
      duplicate: true,
    });
    worker.stop();
    await world.advance(expiresAt - world.clock.now());

    expect(world.backend.ledger.recordItem(first.id)).toBeDefined();
    await expect(first.get()).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    await expect(first.cancel()).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    await expect(first.redrive()).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    const second = await world.client.enqueue(brief, { key: "k", fail: false, text }, { meta: { of: "second" } });
    expect(second).toMatchObject({ id: first.id, duplicate: false, state: "queued" });
    const details = await second.get();
    expect(details.meta).toMatchObject({ of: "second" });
    expect(details.meta).not.toHaveProperty("more");
    expect(details.history).toEqual([]);
    world.worker([brief.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(second.id).state === "succeeded");
    expect(await second.get()).toMatchObject({ attempts: 1, failures: 0, history: [] });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("are not claimed: a message that comes after the end is dropped", async () => {
    const world = await flowWorld({ ttlLagMs: 30 * DAY_MS });
    const task = await world.client.enqueue(brief, { key: "k", fail: false, text: "t" });
    const body = world.calls.find(({ verb, target }) => verb === "send" && target === "normal")?.entry ?? "";
    let runs = 0;
    const worker = world.worker(
      [
        brief.handle(() => {
          runs++;
        }),
      ],
      { scheduler: false },
    );
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.advance((world.record(task.id).expiresAt ?? 0) - world.clock.now());
    await world.backend.queue.send({ lane: "normal" }, [{ body }]);
    await world.until(() => worker.events.some(({ type }) => type === "copy-dropped"));
    expect(worker.events.filter(({ type }) => type === "copy-dropped")).toMatchObject([{ because: "no-record" }]);
    expect(runs).toBe(1);
    await world.close();
  });
});
