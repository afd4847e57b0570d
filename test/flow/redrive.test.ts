import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import type { FlowWorld, WorldWorker } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";
import { depthOf, schedulerOf } from "../support/world-scheduler.ts";

const DLQ = { lane: "normal", dead: true } as const;
const DAY_MS = 86_400_000;
const errand = defineTask({
  name: "errand",
  input: z.object({ text: z.string() }),
  output: z.object({ text: z.string() }),
  maxRetries: 1,
  backoff: { initial: "1s", factor: 1, jitter: "none" },
});

/** A worker that refuses every text which begins with "bad", until it is told to take all. */
function picky(world: FlowWorld): { worker: WorldWorker; takeAll(): void } {
  let all = false;
  const worker = world.worker(
    [
      errand.handle(({ text }) => {
        if (text.startsWith("bad") && !all) throw new Error(`it is ${text.slice(0, 20)}`);
        return { text };
      }),
    ],
    { scheduler: false },
  );
  return {
    worker,
    takeAll: () => {
      all = true;
    },
  };
}

async function deadOf(world: FlowWorld, text: string): Promise<string> {
  const { id } = await world.client.enqueue(errand, { text });
  await world.until(() => world.record(id).state === "dead");
  await world.advance("1s");
  return id;
}

describe("a redrive", () => {
  test("gives a dead task its next epoch, with counts that start anew and a history that is kept", async () => {
    const world = await flowWorld();
    const { takeAll } = picky(world);
    const id = await deadOf(world, "bad");
    const ref = world.client.task(errand, id);
    expect(await ref.get()).toMatchObject({
      state: "dead",
      epoch: 1,
      attempts: 2,
      failures: 2,
      reason: "RETRIES_EXHAUSTED",
    });
    takeAll();
    await ref.redrive();
    expect(world.record(id)).toMatchObject({ epoch: 2, failures: 0 });
    for (const field of ["reason", "message", "finishedAt", "expiresAt"] as const)
      expect(world.record(id)[field]).toBeUndefined();
    expect(await world.during(ref.result())).toEqual({ text: "bad" });
    const details = await ref.get();
    expect(details).toMatchObject({ state: "succeeded", epoch: 2, attempts: 3, failures: 0 });
    expect(details.history).toMatchObject([
      { attempt: 1, outcome: "retry" },
      { attempt: 2, outcome: "dead" },
    ]);
    expect(world.audit.commitsOf(id)).toBe(2);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test.each([
    { what: "a short one", text: "good" },
    {
      what: "one of three-byte characters that would not fit the record by their number alone",
      text: "\u20ac".repeat(180),
    },
    { what: "one for a side item", text: "g".repeat(3_000) },
    { what: "one for S3", text: "g\u{1F600}x9".repeat(20_000) },
  ])("takes a mended input: $what", async ({ text }) => {
    const world = await flowWorld();
    picky(world);
    const id = await deadOf(world, "bad");
    const ref = world.client.task(errand, id);
    await ref.redrive({ input: { text } });
    expect(await world.during(ref.result())).toEqual({ text });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("refuses an input that the schema refuses, and leaves the task dead", async () => {
    const world = await flowWorld();
    picky(world);
    const id = await deadOf(world, "bad");
    const wrong: { text: string } = JSON.parse('{"text":7}');
    await expect(world.client.task(errand, id).redrive({ input: wrong })).rejects.toMatchObject({
      code: "INPUT_INVALID",
    });
    expect(world.record(id)).toMatchObject({ state: "dead", epoch: 1 });
    await world.close();
  });

  test("refuses whatever is not dead", async () => {
    const world = await flowWorld();
    const queued = await world.client.enqueue(errand, { text: "later" }, { delay: "1h" });
    await expect(queued.redrive()).rejects.toMatchObject({ code: "REDRIVE_REFUSED" });
    await queued.cancel();
    await expect(queued.redrive()).rejects.toMatchObject({ code: "REDRIVE_REFUSED" });
    picky(world);
    const done = await world.client.enqueue(errand, { text: "good" });
    await world.during(done.result());
    await expect(done.redrive()).rejects.toMatchObject({ code: "REDRIVE_REFUSED" });
    await expect(world.client.task(errand, "no-such-task-at-all").redrive()).rejects.toMatchObject({
      code: "TASK_NOT_FOUND",
    });
    await world.close();
  });

  test("F34 of which two come at once happens once", async () => {
    const world = await flowWorld();
    const { takeAll } = picky(world);
    const id = await deadOf(world, "bad");
    takeAll();
    const other = world.clientOn(world.newHost());
    const answers = await Promise.all(
      [world.client, other, world.client, other].map((client) =>
        client
          .task(errand, id)
          .redrive()
          .then(
            () => "redriven",
            (error) => error.code,
          ),
      ),
    );
    expect(answers.filter((answer) => answer === "redriven")).toHaveLength(1);
    expect(answers.filter((answer) => answer === "REDRIVE_REFUSED")).toHaveLength(3);
    await world.until(() => world.record(id).state === "succeeded");
    await world.advance("10m");
    expect(world.record(id)).toMatchObject({ epoch: 2, attempts: 3 });
    expect(world.of("redriven", id)).toHaveLength(1);
    expect(await depthOf(world)).toBe(0);
    await world.close();
  });

  test("F34 whose caller dies at any of its steps either happened or did not, and loses nothing", async () => {
    let [happened, not, steps] = [0, 0, 0];
    for (let step = 0; step < 40; step++) {
      const world = await flowWorld();
      const scheduler = schedulerOf(world);
      const { takeAll } = picky(world);
      const id = await deadOf(world, "bad");
      takeAll();
      const host = world.newHost();
      let seen = 0;
      host.onCall = () => {
        if (seen++ === step) host.kill();
      };
      void world.clientOn(host).task(errand, id).redrive();
      await world.settle();
      await scheduler.runEach(1);
      const isDead = world.record(id).state === "dead";
      await world.advance("3s");
      // Either nothing happened, and its letter is still there, or it is the next epoch's.
      const epochs = (await world.letters()).map(({ epoch }) => epoch);
      expect([isDead, ...epochs]).toEqual(isDead ? [true, 1] : [false]);
      if (isDead) await world.client.task(errand, id).redrive();
      if (isDead) not++;
      else happened++;
      await world.until(() => world.record(id).state === "succeeded");
      await world.advance("10m");
      await scheduler.run();
      expect(world.record(id)).toMatchObject({ epoch: 2, attempts: 3 });
      expect(world.record(id).owedAt).toBeUndefined();
      expect([await depthOf(world), await depthOf(world, DLQ)]).toEqual([0, 0]);
      expect(world.audit.violations).toEqual([]);
      await world.close();
      if (!host.isDead) break;
      steps++;
    }
    expect(steps).toBeGreaterThanOrEqual(6);
    expect(not).toBeGreaterThan(0);
    expect(happened).toBeGreaterThan(2);
  });

  test("reaches the stale letters within a run of the scheduler", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const { takeAll } = picky(world);
    const ids: string[] = [];
    for (let n = 1; n <= 3; n++) ids.push(await deadOf(world, `bad ${n}`));
    expect(await depthOf(world, DLQ)).toBe(3);
    takeAll();
    for (const id of ids.slice(0, 2)) await world.client.task(errand, id).redrive();
    await scheduler.run();
    expect(await depthOf(world, DLQ)).toBe(1);
    await world.advance("3s");
    expect(await world.letters()).toMatchObject([{ id: ids[2] }]);
    await world.close();
  });
});

describe("the object of a redriven task", () => {
  const keptFor = (retention: "50d" | "60d") =>
    defineTask({ name: "long", input: z.object({ text: z.string() }), retention, maxLifetime: "1d", maxRetries: 0 });

  test.each([
    { what: "is left alone while its class lasts long enough", afterDays: 10, renewed: false },
    { what: "is written anew, under the same key, if its class could end", afterDays: 45, renewed: true },
  ])("$what", async ({ afterDays, renewed }) => {
    const world = await flowWorld();
    const text = noise(90_000);
    const long = keptFor("50d");
    const handler = long.handle(() => Promise.reject(new TerminalError("not yet")));
    const first = world.worker([handler], { scheduler: false });
    const task = await world.client.enqueue(long, { text });
    await world.until(() => world.record(task.id).state === "dead");
    first.stop();
    const before = world.record(task.id).input;
    expect(before).toMatchObject({ at: "s3", life: "d100" });
    const keys = world.backend.payloads.keys();
    expect(keys).toHaveLength(1);

    await world.advance(afterDays * DAY_MS);
    const now = world.clock.now();
    await task.redrive();
    expect(world.record(task.id).input).toEqual(renewed ? { ...before, storedAt: now } : before);
    expect(world.backend.payloads.keys()).toEqual(keys);
    const second = world.worker([handler], { scheduler: false });
    await world.until(() => world.record(task.id).state === "dead" && world.record(task.id).epoch === 2);
    second.stop();

    // The class of the first write ends, and so does an object that was not renewed; its task's record ended before it.
    await world.advance(101 * DAY_MS - afterDays * DAY_MS);
    expect(world.backend.payloads.keys()).toEqual(renewed ? keys : []);
    await expect(task.get()).rejects.toMatchObject({ code: "TASK_NOT_FOUND" });
    await world.close();
  });

  test("in a side item lives on as well", async () => {
    const world = await flowWorld({ ttlLagMs: 0 });
    const side = noise(3_000);
    const long = keptFor("60d");
    let die = true;
    const handler = long.handle((input) => {
      if (die) throw new TerminalError("not yet");
      expect(input.text).toBe(side);
    });
    const first = world.worker([handler], { scheduler: false });
    const task = await world.client.enqueue(long, { text: side });
    await world.until(() => world.record(task.id).state === "dead");
    first.stop();
    expect(world.record(task.id).input).toMatchObject({ at: "side", life: "d100" });
    await world.advance("55d");
    die = true;
    const second = world.worker([handler], { scheduler: false });
    await task.redrive();
    await world.until(() => world.record(task.id).state === "dead" && world.record(task.id).epoch === 2);
    second.stop();
    // 110 days after it was written first, the same input is still there.
    await world.advance("55d");
    die = false;
    await task.redrive();
    world.worker([handler], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded");
    await world.close();
  });
});
