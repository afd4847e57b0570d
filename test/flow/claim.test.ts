import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { markUnknownSince } from "../../lib/task/envelope.ts";
import { TerminalError } from "../../lib/task/handler-errors.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }), timeout: "10m" });

/** Handlers that take a while. */
function taking(ms: number) {
  return (host: FlowHost) => [plain.handle((_input, ctx) => host.pause(ms, ctx.signal))];
}

/** Sends a task's message once more, as SQS may, or as a scheduler does. */
async function sendCopy(world: FlowWorld, body: string, copies = 1): Promise<void> {
  await world.backend.queue.send(
    { lane: "normal" },
    Array.from({ length: copies }, () => ({ body })),
  );
}

async function bodyOf(world: FlowWorld): Promise<string> {
  const [message] = await world.take();
  if (message === undefined) throw new Error("The queue is empty");
  return message.body;
}

describe("messages that are delivered more than once", () => {
  test.each([0, 0.1, 0.3])("F01 at a rate of %d bring each task to one commit and one start", async (duplicateRate) => {
    const world = await flowWorld({ duplicateRate, seed: 11 });
    for (const concurrency of [3, 10]) world.worker(taking(2_000), { concurrency });
    const tasks = await world.client.enqueueMany(
      plain,
      Array.from({ length: 100 }, (_, n) => ({ input: { n } })),
    );
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"), "10m");
    await world.advance("2m");
    for (const { id } of tasks) {
      expect(world.of("attempt-started", id)).toHaveLength(1);
      expect(world.audit.commitsOf(id)).toBe(1);
    }
    expect(world.audit.violations).toEqual([]);
    expect(world.of("crash-detected")).toEqual([]);
    const { visible, delayed, inFlight } = await world.backend.queue.depth({ lane: "normal" });
    expect(visible + delayed + inFlight).toBe(0);
    expect(world.of("copy-dropped").length > 0).toBe(duplicateRate > 0);
    await world.close();
  });

  test("F01 in one batch are one candidate", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 });
    await sendCopy(world, await bodyOf(world), 3);
    world.worker(taking(100));
    await world.advance("1s");
    expect(world.of("attempt-started")).toHaveLength(1);
    expect(world.of("copy-dropped", task.id)).toHaveLength(3);
    expect(world.calls.filter(({ verb }) => verb === "claimMany")).toHaveLength(1);
    await world.close();
  });

  test("F02 after the task has ended are dropped without a start", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 });
    const body = await bodyOf(world);
    world.worker(taking(100));
    await world.advance("1s");
    await sendCopy(world, body, 2);
    await world.advance("1s");
    expect(world.of("attempt-started")).toHaveLength(1);
    expect(world.of("copy-dropped", task.id)).toContainEqual(expect.objectContaining({ because: "final" }));
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    await world.close();
  });

  test("F02 that an acknowledgement did not remove start no handler", async () => {
    const world = await flowWorld();
    world.faults = ({ verb }) => (verb === "acknowledge" ? "refused" : undefined);
    const task = await world.client.enqueue(plain, { n: 1 });
    world.worker(taking(100));
    await world.advance("3m");
    expect(world.record(task.id).state).toBe("succeeded");
    expect(world.of("attempt-started")).toHaveLength(1);
    await world.close();
  });
});

describe("a task that is running elsewhere", () => {
  test("F01 hides the same message for the rest of the lease, and drops another one", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 });
    const first = world.worker(taking(25_000));
    await world.advance("1s");
    // SQS shows the very message again, too early, and a copy of it comes along.
    const second = world.worker(taking(25_000));
    const [hidden] = await world.backend.queue.receive({ lane: "normal" }, { max: 1, waitMs: 0, visibilityMs: 0 });
    expect(hidden).toBeUndefined();
    await showAgain(world);
    await world.advance("1s");
    expect(await world.backend.queue.depth({ lane: "normal" })).toMatchObject({ visible: 0, inFlight: 1 });
    expect(second.events.filter(({ type }) => type === "copy-dropped")).toEqual([]);
    await sendCopy(world, firstBody(world));
    await world.advance("1s");
    expect(world.of("copy-dropped", task.id)).toMatchObject([{ because: "running" }]);
    await world.advance("2m");
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    expect(first.events.filter(({ type }) => type === "attempt-started")).toHaveLength(1);
    await world.close();
  });

  test("F01 F08 keeps the message that its claim came from, though a copy comes first in one batch with it", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 });
    const first = world.worker(taking(60_000), { scheduler: false });
    await world.advance("1s");
    first.host.kill();
    await sendCopy(world, firstBody(world));
    await showAgain(world);
    world.worker(taking(1_000), { scheduler: false });
    // Nothing but the message can tell of the crash: there is no scheduler here.
    await world.until(() => world.record(task.id).state === "succeeded", "3m");
    expect(world.record(task.id)).toMatchObject({ crashes: 1, attempts: 2 });
    await world.close();
  });

  test("F01 F08 keeps its message when SQS delivers it twice in one batch", async () => {
    const world = await flowWorld({ duplicateRate: 1 });
    const task = await world.client.enqueue(plain, { n: 1 });
    const first = world.worker(taking(60_000), { scheduler: false });
    await world.until(() => world.of("attempt-started").length === 1);
    await world.advance("1s");
    first.host.kill();
    world.worker(taking(1_000), { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded", "3m");
    expect(world.record(task.id)).toMatchObject({ crashes: 1, attempts: 2 });
    await world.close();
  });
});

/** Body of the first message that was ever sent. */
function firstBody(world: FlowWorld): string {
  return world.calls.find(({ verb }) => verb === "send")?.entry ?? "";
}

/** Shows whatever is in flight at once, as a server of SQS that was away may. */
async function showAgain(world: FlowWorld): Promise<void> {
  // Receipts of the memory queue name the queue, the message and its count of receives.
  await world.backend.queue.hide({ lane: "normal" }, [{ receipt: "normal/1/1", visibilityMs: 0 }]);
}

describe("a message without a record", () => {
  test("F22 is acknowledged and counted, and creates nothing", async () => {
    const other = await flowWorld();
    const { id } = await other.client.enqueue(plain, { n: 1 });
    const world = await flowWorld();
    await sendCopy(world, await bodyOf(other));
    world.worker(taking(100));
    await world.advance("1s");
    expect(world.of("copy-dropped", id)).toMatchObject([{ because: "no-record" }]);
    expect(world.audit.records.size).toBe(0);
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    await world.close();
  });

  test("F29 of a record that has expired starts nothing, though the store still holds it", async () => {
    const world = await flowWorld({ ttlLagMs: 90 * 86_400_000 });
    const task = await world.client.enqueue(plain, { n: 1 });
    const body = await bodyOf(world);
    const worker = world.worker(taking(100));
    await world.advance("1s");
    worker.stop();
    await world.during(worker.ended);
    world.clock.advanceTo(world.record(task.id).expiresAt ?? 0);
    await sendCopy(world, body);
    world.worker(taking(100), { scheduler: false });
    await world.advance("1s");
    expect(world.of("attempt-started")).toHaveLength(1);
    expect(world.of("copy-dropped", task.id)).toContainEqual(expect.objectContaining({ because: "no-record" }));
    await world.close();
  });
});

describe("a message of a dead task", () => {
  test("has its letter sent again first, and is acknowledged then", async () => {
    const world = await flowWorld();
    world.worker([
      plain.handle(() => {
        throw new TerminalError("no");
      }),
    ]);
    world.faults = ({ verb, target }) => (verb === "send" && target === "normal-dlq" ? "refused" : undefined);
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("2s");
    expect(world.record(task.id).state).toBe("dead");
    expect(await world.letters()).toEqual([]);
    expect(await world.backend.queue.depth({ lane: "normal" })).toMatchObject({ inFlight: 1 });
    world.faults = undefined;
    await world.advance("10s");
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "TERMINAL", payload: '{"n":1}' }]);
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    expect(world.of("attempt-started")).toHaveLength(1);
    await world.close();
  });
});

describe("a message that comes before its task's time", () => {
  test("is put back with the time in it, so that it comes once more only", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 }, { delay: "10m" });
    // A copy without a delay, such as the message of an attempt that was put off later.
    await sendCopy(world, firstBody(world).replace(/,"n":\d+/, ""));
    world.worker(taking(100));
    await world.advance("11m");
    expect(world.of("attempt-started", task.id).map(({ at }) => at)).toEqual([world.record(task.id).dueAt]);
    expect(
      world.calls.filter(({ verb, target }) => verb === "claimMany" && target === task.id).length,
    ).toBeLessThanOrEqual(3);
    await world.close();
  });

  test("of the scheduler's is acknowledged, since the scheduler sends it again", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, { n: 1 }, { delay: "2h" });
    const other = await flowWorld();
    await other.client.enqueue(plain, { n: 1 }, { id: task.id });
    await sendCopy(world, markUnknownSince(firstBody(other), 1));
    world.worker(taking(100));
    await world.advance("1s");
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    await world.advance("2h");
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });
});
