import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { encodeEnvelope } from "../../lib/task/envelope.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import { RECEIVE_LIMIT } from "../../lib/task/limits.ts";
import type { FlowWorld, WorldWorker } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { depthOf, moveLetters, purge, schedulerOf } from "../support/world-scheduler.ts";

const DLQ = { lane: "normal", dead: true } as const;
const DAY_MS = 86_400_000;
const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }), timeout: "2h", retention: "1d" });

/** Receives a lane's messages so often, without ever claiming them, that SQS moves them to the dead letter queue. */
async function wearOut(world: FlowWorld): Promise<void> {
  for (let receive = 0; receive <= RECEIVE_LIMIT; receive++) await world.take();
}

/** A worker that kills every task. */
function killer(world: FlowWorld): WorldWorker {
  return world.worker(
    [
      errand.handle((input) => {
        throw new TerminalError(`number ${input.n} is of no use`);
      }),
    ],
    { scheduler: false },
  );
}

async function dieOf(world: FlowWorld, count: number): Promise<string[]> {
  const tasks = await world.client.enqueueMany(
    errand,
    Array.from({ length: count }, (_, n) => ({ input: { n } })),
  );
  await world.until(() => tasks.every(({ id }) => world.record(id).state === "dead"));
  await world.advance("1m");
  return tasks.map(({ id }) => id);
}

describe("a dead letter queue", () => {
  test("F11 a task whose message SQS threw away becomes a dead record with a letter of its own", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    await wearOut(world);
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(await world.letters()).toEqual([]);

    expect(await scheduler.run()).toMatchObject({ buried: 1 });
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "RECEIVE_LIMIT", attempts: 0 });
    expect(await depthOf(world, DLQ)).toBe(1);
    await world.advance("3s");
    expect(await world.letters()).toMatchObject([
      { id: task.id, epoch: 1, reason: "RECEIVE_LIMIT", payload: '{"n":1}' },
    ]);
    expect(scheduler.dead(task.id)).toHaveLength(1);
    await world.advance("1m");
    expect(await scheduler.run()).toMatchObject({ buried: 0 });
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test.each([
    { what: "no envelope at all", body: "not <json>", reason: "UNDECODABLE" },
    { what: "a long text", body: "x".repeat(5_000), reason: "UNDECODABLE" },
    { what: "characters of four bytes", body: "\u{1F600}".repeat(99), reason: "UNDECODABLE" },
    { what: "characters of three bytes", body: "\u20ac".repeat(198), reason: "UNDECODABLE" },
    {
      what: "another queue's task",
      body: encodeEnvelope({
        kind: "task",
        queue: "other",
        id: "0123456789abcdef",
        task: "errand",
        epoch: 1,
        dueAt: 1,
        deferrals: 0,
        passedOver: false,
      }),
      reason: "WRONG_QUEUE",
    },
  ] as const)("F33 a foreign message becomes a dead record that holds its bytes: $what", async ({ body, reason }) => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await world.backend.queue.send(DLQ, [{ body }]);
    expect(await scheduler.run()).toMatchObject({ buried: 1 });
    await world.advance("3s");
    const [letter] = await world.letters();
    expect(letter).toMatchObject({ reason, payload: JSON.stringify(body) });
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(world.record(letter?.id ?? "")).toMatchObject({ state: "dead", reason, task: "unknown" });
    for (let minute = 0; minute < 3; minute++) {
      await world.advance("1m");
      expect(await scheduler.run()).toMatchObject({ buried: 0 });
    }
    expect(await depthOf(world, DLQ)).toBe(1);
    await expect(world.client.task(errand, letter?.id ?? "").redrive()).rejects.toMatchObject({
      code: "REDRIVE_REFUSED",
    });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("F33 a foreign message that comes twice dies once", async () => {
    const world = await flowWorld({ duplicateRate: 1 });
    const scheduler = schedulerOf(world);
    await world.backend.queue.send(DLQ, [{ body: "nobody's" }]);
    expect(await scheduler.run()).toMatchObject({ buried: expect.any(Number) });
    await world.advance("1m");
    await scheduler.run();
    expect(scheduler.dead()).toHaveLength(1);
    await world.close();
  });

  test("a letter that could not be sent leaves the foreign message where it is", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    await world.backend.queue.send(DLQ, [{ body: "nobody's" }]);
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal-dlq" ? "refused" : undefined);
    expect(await scheduler.run()).toMatchObject({ buried: 0 });
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(await world.letters()).toEqual([]);
    world.faults = undefined;
    await world.advance("1m");
    await scheduler.run();
    await world.advance("3s");
    expect(await world.letters()).toHaveLength(1);
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(scheduler.dead()).toHaveLength(1);
    await world.close();
  });

  test("our own letters stay, and are seen again by an operator within seconds", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    killer(world);
    const ids = await dieOf(world, 25);
    expect(await depthOf(world, DLQ)).toBe(25);
    await scheduler.runEach(5);
    expect(await depthOf(world, DLQ)).toBe(25);
    await world.advance("2s");
    const seen = new Set<string>();
    for (let receive = 0; receive < 5; receive++)
      for (const { body } of await world.backend.queue.receive(DLQ, { max: 10, waitMs: 0, visibilityMs: 60_000 }))
        seen.add(JSON.parse(body).id);
    expect([...seen].sort()).toEqual([...ids].sort());
    await world.close();
  });

  test("a letter whose task has moved on is removed: redriven, succeeded, or gone", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    let mended = false;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new TerminalError("not yet");
        }),
      ],
      { scheduler: false },
    );
    const ids = await dieOf(world, 3);
    expect(await depthOf(world, DLQ)).toBe(3);
    mended = true;
    await world.client.task(errand, ids[0] ?? "").redrive();
    await world.until(() => world.record(ids[0] ?? "").state === "succeeded");
    expect(await depthOf(world, DLQ)).toBe(3);
    await scheduler.run();
    await world.advance("3s");
    expect((await world.letters()).map(({ id }) => id)).not.toContain(ids[0]);
    expect(await depthOf(world, DLQ)).toBe(2);

    mended = false;
    await world.advance("1m");
    await world.client.task(errand, ids[1] ?? "").redrive();
    await world.until(() => world.record(ids[1] ?? "").state === "dead");
    await world.advance("1m");
    expect(await depthOf(world, DLQ)).toBe(3);
    await scheduler.run();
    await world.advance("2s");
    // The letter of the first epoch is stale, that of the second is not.
    const left = await world.letters();
    expect(Object.fromEntries(left.map(({ id, epoch }) => [id, epoch]))).toEqual({
      [ids[1] ?? ""]: 2,
      [ids[2] ?? ""]: 1,
    });
    expect(left).toHaveLength(2);
    await world.close();
  });

  test("F33 a letter lies there for 14 days, and the record outlives it however short its retention", async () => {
    const world = await flowWorld({ ttlLagMs: 0 });
    const scheduler = schedulerOf(world);
    const worker = killer(world);
    const [id = ""] = await dieOf(world, 1);
    worker.stop();
    const { finishedAt = 0, expiresAt = 0 } = world.record(id);
    expect(expiresAt - finishedAt).toBeGreaterThanOrEqual(19 * DAY_MS);
    await scheduler.runEach(13, DAY_MS);
    expect(await depthOf(world, DLQ)).toBe(1);
    expect(await world.client.task(errand, id).get()).toMatchObject({ state: "dead" });
    await world.advance("1d");
    expect(await depthOf(world, DLQ)).toBe(0);
    expect(await world.client.task(errand, id).get()).toMatchObject({ state: "dead" });
    await world.close();
  });

  test("a message of a task that runs is removed, and the task is owed a look", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const task = await world.client.enqueue(errand, { n: 1 });
    const worker = world.worker((host) => [errand.handle((_, ctx) => host.pause(3_600_000, ctx.signal))], {
      scheduler: false,
    });
    await world.until(() => world.record(task.id).state === "running");
    const [body] = await copyOf(world, task.id);
    await world.backend.queue.send(DLQ, [{ body: body ?? "" }]);
    await scheduler.run();
    expect(await depthOf(world, DLQ)).toBe(0);
    const { leaseUntil = 0, owedAt } = world.record(task.id);
    expect(owedAt).toBe(leaseUntil + 15 * 60_000);
    worker.host.kill();
    await purge(world);
    await world.advance("1m");
    await purge(world);
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await scheduler.runEach(20);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", crashes: 1 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("a message of a task that has ended, that nobody knows, or of an epoch that is over is only removed", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    let mended = true;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new TerminalError("not yet");
        }),
      ],
      { scheduler: false },
    );
    const done = await world.client.enqueue(errand, { n: 1 });
    const [doneCopy = ""] = await copyOf(world, done.id);
    await world.until(() => world.record(done.id).state === "succeeded");
    mended = false;
    const again = await world.client.enqueue(errand, { n: 2 });
    const [firstEpoch = ""] = await copyOf(world, again.id);
    await world.until(() => world.record(again.id).state === "dead");
    await world.advance("1m");
    await purge(world, DLQ);
    // Its second epoch waits for a lane that is stopped.
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
    await again.redrive();
    world.faults = undefined;
    const nobody = firstEpoch.replace(again.id, "0123456789abcdef0123456789abcdef");
    await world.backend.queue.send(DLQ, [{ body: doneCopy }, { body: firstEpoch }, { body: nobody }]);
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal" ? "refused" : undefined);
    expect(await scheduler.run()).toMatchObject({ buried: 0 });
    world.faults = undefined;
    expect(await depthOf(world, DLQ)).toBe(0);
    expect(world.record(done.id).state).toBe("succeeded");
    expect(world.record(again.id)).toMatchObject({ state: "queued", epoch: 2 });
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("what is found there is handled in every lane, and only so much of it in one run", async () => {
    const world = await flowWorld({ spec: {} });
    const scheduler = schedulerOf(world);
    for (const lane of ["critical", "high", "normal", "low"] as const)
      await world.backend.queue.send(
        { lane, dead: true },
        Array.from({ length: 130 }, (_, n) => ({ body: `foreign ${lane} ${n}` })),
      );
    const first = await scheduler.run();
    expect(first.buried).toBeGreaterThanOrEqual(4 * 90);
    expect(first.buried).toBeLessThanOrEqual(4 * 100);
    const later = await scheduler.runEach(8);
    expect(later.reduce((sum, { buried }) => sum + buried, first.buried)).toBe(4 * 130);
    await world.close();
  });
});

describe("the letters of a lane, moved back to it by SQS's own redrive", () => {
  test("F34 redrive their tasks, once each", async () => {
    const world = await flowWorld();
    let mended = false;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new TerminalError("not yet");
        }),
      ],
      { scheduler: false },
    );
    const ids = await dieOf(world, 20);
    mended = true;
    expect(await moveLetters(world)).toBe(20);
    await world.until(() => ids.every((id) => world.record(id).state === "succeeded"));
    for (const id of ids) {
      expect(world.record(id)).toMatchObject({ epoch: 2, attempts: 2 });
      expect(world.of("redriven", id)).toHaveLength(1);
      expect(world.audit.commitsOf(id)).toBe(2);
    }
    await world.advance("1m");
    expect(await depthOf(world)).toBe(0);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("F34 cancelled half-way: those that were moved run, the others stay dead with their letters, and the move can go on", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    let mended = false;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new TerminalError("not yet");
        }),
      ],
      { scheduler: false },
    );
    const ids = await dieOf(world, 20);
    mended = true;
    expect(await moveLetters(world, 7)).toBe(7);
    await world.advance("1m");
    await scheduler.runEach(3);
    const count = (state: string): number => ids.filter((id) => world.record(id).state === state).length;
    expect([count("succeeded"), count("dead"), await depthOf(world, DLQ)]).toEqual([7, 13, 13]);
    await world.advance("1m");
    expect(await moveLetters(world)).toBe(13);
    await world.advance("1m");
    expect([count("succeeded"), await depthOf(world, DLQ)]).toEqual([20, 0]);
    for (const id of ids) expect(world.of("attempt-started", id)).toHaveLength(2);
    await world.close();
  });

  test("F34 at the same time as a redrive of ours, twice over: each task gets one more epoch", async () => {
    const world = await flowWorld({ duplicateRate: 1, staleDelete: "removes" });
    let mended = false;
    world.worker(
      [
        errand.handle(() => {
          if (!mended) throw new TerminalError("not yet");
        }),
      ],
      { scheduler: false },
    );
    const ids = await dieOf(world, 10);
    mended = true;
    const [moved, ...ours] = await Promise.all([
      moveLetters(world),
      ...ids.flatMap((id) =>
        [1, 2].map(() =>
          world.client
            .task(errand, id)
            .redrive()
            .then(
              () => "redriven",
              (error) => error.code,
            ),
        ),
      ),
    ]);
    expect(moved).toBeGreaterThanOrEqual(10);
    await world.until(() => ids.every((id) => world.record(id).state === "succeeded"));
    await world.advance("10m");
    for (const id of ids) {
      expect(world.record(id)).toMatchObject({ epoch: 2, attempts: 2 });
      expect(world.of("redriven", id)).toHaveLength(1);
      expect(world.of("attempt-started", id)).toHaveLength(2);
    }
    expect(new Set(ours)).toEqual(new Set(["redriven", "REDRIVE_REFUSED"]));
    expect(world.of("copy-dropped").some(({ because }) => because === "stale-letter")).toBe(true);
    expect(await depthOf(world)).toBe(0);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("F34 a letter of an epoch that is over is dropped", async () => {
    const world = await flowWorld();
    const worker = world.worker(
      [
        errand.handle(() => {
          throw new TerminalError("never");
        }),
      ],
      { scheduler: false },
    );
    const [id = ""] = await dieOf(world, 1);
    await world.client.task(errand, id).redrive();
    await world.until(() => world.record(id).state === "dead" && world.record(id).epoch === 2);
    await world.advance("1m");
    expect(await depthOf(world, DLQ)).toBe(2);
    await moveLetters(world);
    await world.until(() => world.record(id).epoch === 3 && world.record(id).state === "dead");
    await world.advance("1m");
    expect(world.record(id).epoch).toBe(3);
    expect(worker.events.filter((event) => event.type === "copy-dropped")).toMatchObject([{ because: "stale-letter" }]);
    expect(world.of("attempt-started", id)).toHaveLength(3);
    await world.close();
  });
});

/** The bodies of the messages that were sent for a task so far. */
function copyOf(world: FlowWorld, id: string): Promise<string[]> {
  const bodies = world.calls.flatMap(({ verb, entry }) =>
    verb === "send" && entry !== undefined && entry.includes(`"${id}"`) ? [entry] : [],
  );
  return Promise.resolve(bodies);
}
