import { describe, expect, test } from "vitest";
import { z } from "zod";
import { sleep } from "../../lib/ports/clock.ts";
import type { Duration } from "../../lib/task/duration.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { SnoozeError } from "../../lib/task/handler-errors.ts";
import { encodeEnvelope, markUnknownSince } from "../../lib/task/envelope.ts";
import type { TaskRef } from "../../lib/task/task-ref.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const renamed = defineTask({ name: "renamed", input: z.object({ n: z.number() }) });
const known = defineTask({ name: "known", input: z.object({ n: z.number() }) });
/** What the next release takes. */
const stricter = defineTask({ name: "known", input: z.object({ n: z.number(), unit: z.string() }) });

const DAY_MS = 86_400_000;

async function send(world: FlowWorld, body: string): Promise<void> {
  await world.backend.queue.send({ lane: "normal" }, [{ body }]);
}

/** The body that the next version of Tasklane would write. */
function asNewer(body: string): string {
  return JSON.stringify({ ...JSON.parse(body), v: 2, new: { shape: true } });
}

async function queueDepth(world: FlowWorld): Promise<number> {
  const { visible, delayed, inFlight } = await world.backend.queue.depth({ lane: "normal" });
  return visible + delayed + inFlight;
}

/** A task in the middle of its first attempt, with the process that runs it. */
async function runningTask(world: FlowWorld, ms: number): Promise<{ task: TaskRef; host: FlowHost }> {
  const options = { scheduler: false, lease: "10s" } as const;
  const { host } = world.worker((process) => [renamed.handle(() => process.pause(ms))], options);
  const task = await world.client.enqueue(renamed, { n: 1 });
  await world.until(() => world.record(task.id).state === "running");
  return { task, host };
}

/** A task whose worker is killed in the middle of it, and comes no more. */
async function crashOnce(world: FlowWorld): Promise<TaskRef> {
  const { task, host } = await runningTask(world, 3_600_000);
  host.kill();
  return task;
}

/** A task that has put itself off, a copy of its message that nobody has known for a day, and no worker that knows it. */
async function snoozedWithOldCopy(delay: Duration): Promise<{ world: FlowWorld; task: TaskRef }> {
  const world = await flowWorld();
  const handler = renamed.handle(() => {
    throw new SnoozeError(delay);
  });
  const knowing = world.worker([handler], { scheduler: false });
  const task = await world.client.enqueue(renamed, { n: 1 });
  await world.until(() => world.record(task.id).snoozes === 1);
  knowing.stop();
  await world.during(knowing.ended);
  const body = world.calls.find(({ verb }) => verb === "send")?.entry ?? "";
  await send(world, markUnknownSince(body, world.clock.now() - DAY_MS));
  world.worker([known.handle(() => undefined)], { scheduler: false });
  return { world, task };
}

describe("F10 F44 a task that this worker does not know", () => {
  test("waits for one that does, as often as it takes, and loses nothing", async () => {
    const world = await flowWorld();
    world.worker([known.handle(() => undefined)]);
    const task = await world.client.enqueue(renamed, { n: 1 });
    await world.advance("3h");
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0, failures: 0 });
    expect(world.of("deferred", task.id)[0]).toMatchObject({ reason: "unknown-task", task: "renamed" });
    world.worker([renamed.handle(() => undefined)]);
    await world.until(() => world.record(task.id).state === "succeeded", "10m");
    expect(world.record(task.id)).toMatchObject({ attempts: 1, crashes: 0 });
    await world.close();
  });

  test("is dead as UNKNOWN_TASK after a day, and not sooner", async () => {
    const world = await flowWorld();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(renamed, { n: 1 });
    await world.advance(DAY_MS - 60_000);
    expect(world.record(task.id).state).toBe("queued");
    await world.advance("3m");
    expect(await task.get()).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK", attempts: 0 });
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNKNOWN_TASK", payload: '{"n":1}' }]);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("is dead a day after its last attempt crashed where it was known, and nothing of it stays behind", async () => {
    const world = await flowWorld();
    const task = await crashOnce(world);
    const { startedAt } = world.record(task.id);
    world.worker([known.handle(() => undefined)]);
    await world.advance(DAY_MS - 60_000);
    expect(world.record(task.id).state).toBe("running");
    await world.advance("15m");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK", attempts: 1, crashes: 1 });
    expect(world.record(task.id).startedAt).toBe(startedAt);
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNKNOWN_TASK" }]);
    await world.advance("1h");
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("goes on where its last attempt crashed, once a worker that knows it is back within the day", async () => {
    const world = await flowWorld();
    const task = await crashOnce(world);
    const other = world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance("23h");
    other.stop();
    world.worker([renamed.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded", "1h");
    expect(world.record(task.id)).toMatchObject({ attempts: 2, crashes: 1 });
    await world.close();
  });

  test.each([
    ["claimMany", "unanswered", 1],
    ["claimMany", "refused", 2],
    ["changeMany", "unanswered", 1],
    ["changeMany", "refused", 1],
    ["changeMany", "refused", 2],
  ] as const)("is dead in time after its crash, though %s is %s (times: %i) at the end", async (verb, fault, times) => {
    const world = await flowWorld();
    const task = await crashOnce(world);
    world.worker([known.handle(() => undefined)], { scheduler: false });
    let faults = 0;
    world.faults = (call) => (call.verb === verb && faults++ < times ? fault : undefined);
    await world.advance(DAY_MS + 900_000);
    expect(faults).toBeGreaterThanOrEqual(times);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK", attempts: 1, crashes: 1 });
    expect(world.of("crash-detected", task.id)).toHaveLength(1);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("has its letter sent by the same message, though the dead letter queue refuses it first", async () => {
    const world = await flowWorld();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(renamed, { n: 1 });
    let refusals = 0;
    world.faults = ({ verb, entry }) =>
      verb === "send" && entry?.includes("UNKNOWN_TASK") === true && refusals++ < 2 ? "refused" : undefined;
    await world.advance(DAY_MS + 300_000);
    expect(refusals).toBeGreaterThan(2);
    expect(world.record(task.id).state).toBe("dead");
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNKNOWN_TASK" }]);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("is not killed by an old copy while the ledger does not answer for minutes", async () => {
    const { world, task } = await snoozedWithOldCopy("14m");
    world.faults = ({ verb }) => (verb === "readMany" ? "refused" : undefined);
    await world.advance("6m");
    world.faults = undefined;
    await world.advance("1h");
    expect(world.record(task.id)).toMatchObject({ state: "queued", snoozes: 1 });
    await world.close();
  });

  test("that crashed and was to be cancelled is cancelled, without a letter", async () => {
    const world = await flowWorld();
    const task = await crashOnce(world);
    expect(await task.cancel("not needed")).toBe("running");
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance(DAY_MS + 3_600_000);
    expect(world.record(task.id)).toMatchObject({ state: "cancelled", reason: "CANCELLED", attempts: 1, crashes: 1 });
    expect(await world.letters()).toEqual([]);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("has one letter, however many messages the scheduler has sent for it", async () => {
    const world = await flowWorld();
    const knowing = world.worker((host) => [renamed.handle(() => host.pause(3_600_000))], {
      scheduler: false,
      lease: "10s",
    });
    const task = await world.client.enqueue(renamed, { n: 1 }, { delay: "2h" });
    world.worker([known.handle(() => undefined)]);
    await world.until(() => world.record(task.id).state === "running", "4h");
    knowing.host.kill();
    await world.advance(2.5 * DAY_MS);
    expect(world.of("resent", task.id).length).toBeGreaterThan(2);
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNKNOWN_TASK" }]);
    expect(world.of("crash-detected", task.id)).toHaveLength(1);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("F43 that is buried behind a frozen worker's back is lost to it: it does not take the end for its own", async () => {
    const world = await flowWorld();
    const { task, host } = await runningTask(world, 1_000);
    host.freeze();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance(DAY_MS + 3_600_000);
    expect(world.record(task.id).state).toBe("dead");
    host.thaw();
    await world.advance("1m");
    expect(world.of("attempt-ended", task.id)).toMatchObject([{ outcome: "lost" }]);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK", attempts: 1 });
    await world.close();
  });

  test("keeps its life where a frozen worker goes on in the moment before it is buried", async () => {
    const world = await flowWorld();
    const { task, host } = await runningTask(world, 600_000);
    host.freeze();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    let reads = 0;
    world.faults = async ({ verb }) => {
      if (verb !== "claimMany" || reads++ > 0) return undefined;
      const { id, fence, owner } = world.record(task.id);
      const patch = { set: { leaseUntil: world.clock.now() + 60_000 } };
      await world.backend.ledger.renewMany([{ id, fence, owner, patch }]);
      return undefined;
    };
    await world.until(() => reads > 0, "25h");
    await world.advance("30s");
    expect(world.record(task.id)).toMatchObject({ state: "running", attempts: 1, crashes: 0 });
    expect(await queueDepth(world)).toBeGreaterThan(0);
    host.kill();
    await world.close();
  });

  test("counts the day from the end of its last lease, and not from its start", async () => {
    const world = await flowWorld();
    const long = defineTask({ name: "long", input: z.object({ n: z.number() }), timeout: "11h" });
    const knowing = world.worker((host) => [long.handle(() => host.pause(20_000_000))], { scheduler: false });
    const task = await world.client.enqueue(long, { n: 1 });
    await world.until(() => world.record(task.id).state === "running");
    const body = world.calls.find(({ verb }) => verb === "send")?.entry ?? "";
    await send(world, markUnknownSince(body, world.clock.now() - DAY_MS));
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance("4h");
    knowing.host.kill();
    await world.advance(DAY_MS - 120_000);
    expect(world.record(task.id).state).toBe("running");
    await world.advance("30m");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK" });
    await world.close();
  });

  test("that may not run for days needs no old copy: the scheduler sends its message", async () => {
    const { world, task } = await snoozedWithOldCopy("5d");
    await world.advance("1h");
    expect(await queueDepth(world)).toBe(0);
    expect(world.record(task.id)).toMatchObject({ state: "queued", snoozes: 1 });
    await world.close();
  });

  test("that may not run yet begins its day when it may, and is not looked up each time", async () => {
    const { world, task } = await snoozedWithOldCopy("14m");
    const calls = world.calls.length;
    await world.advance(DAY_MS);
    expect(world.record(task.id)).toMatchObject({ state: "queued", snoozes: 1 });
    expect(world.calls.slice(calls).filter(({ verb }) => verb === "readMany").length).toBeLessThan(5);
    await world.advance("30m");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK" });
    await world.close();
  });

  test("ends by the day, though a clock that was ahead marked its message", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(renamed, { n: 1 });
    const [message] = await world.take("normal", 60_000);
    await world.backend.queue.acknowledge({ lane: "normal" }, [message?.receipt ?? ""]);
    await send(world, markUnknownSince(message?.body ?? "", world.clock.now() + 400 * DAY_MS));
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance(DAY_MS + 120_000);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK" });
    await world.close();
  });

  test("does not die by an old copy while somebody who knows it runs it, waits to run it again, or has ended it", async () => {
    const world = await flowWorld();
    const poll = defineTask({ name: "poll", input: z.object({ n: z.number() }), timeout: "2h" });
    let starts = 0;
    const handler = poll.handle(async () => {
      starts++;
      await sleep(world.clock, 1_800_000);
      if (starts < 3) throw new SnoozeError("20m");
    });
    const first = world.worker([handler], { scheduler: false, concurrency: 1 });
    const task = await world.client.enqueue(poll, { n: 1 });
    await world.until(() => world.record(task.id).state === "running");
    const body = world.calls.find(({ verb }) => verb === "send")?.entry ?? "";
    await send(world, markUnknownSince(body, world.clock.now() - DAY_MS));
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state !== "running", "1h");
    first.stop();
    // It may run again, and nobody who knows it is there yet.
    await world.advance("1h");
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 1 });
    world.worker([handler]);
    await world.until(() => world.record(task.id).state === "succeeded", "5h");
    expect(starts).toBe(3);
    await world.advance(DAY_MS + 3_600_000);
    expect(world.of("dead")).toEqual([]);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("is not lost if the ledger does not answer when the day is over", async () => {
    const world = await flowWorld();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(renamed, { n: 1 });
    await world.advance(DAY_MS - 60_000);
    world.faults = ({ verb }) => (verb === "readMany" || verb === "changeMany" ? "refused" : undefined);
    await world.advance("2m");
    world.faults = undefined;
    expect(await queueDepth(world)).toBe(1);
    await world.advance("2m");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK" });
    await world.close();
  });

  test("whose message is of a newer version waits likewise, and keeps every byte of it", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(known, { n: 1 });
    const [message] = await world.take("normal", 60_000);
    const body = message?.body ?? "";
    await world.backend.queue.acknowledge({ lane: "normal" }, [message?.receipt ?? ""]);
    await send(world, asNewer(body));
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance("2h");
    expect(world.of("deferred", task.id).at(-1)).toMatchObject({ reason: "unknown-version" });
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0 });
    const last = world.calls.findLast(({ verb }) => verb === "send");
    expect(JSON.parse(last?.entry ?? "")).toEqual({ ...JSON.parse(asNewer(body)), u: expect.any(Number) });
    await world.advance(DAY_MS - 3_600_000);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK" });
    await world.close();
  });

  test("which ended meanwhile has its message dropped after the day, and stays as it is", async () => {
    const world = await flowWorld();
    world.worker([known.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(renamed, { n: 1 });
    await task.cancel("not needed");
    await world.advance(DAY_MS + 120_000);
    expect(world.record(task.id).state).toBe("cancelled");
    expect(await queueDepth(world)).toBe(0);
    expect(await world.letters()).toEqual([]);
    await world.close();
  });
});

describe("F44 F45 an input that this worker's schema refuses", () => {
  test("waits for a worker that takes it, counts no attempt, and runs there", async () => {
    const world = await flowWorld();
    const stranger = world.worker([stricter.handle(() => undefined)]);
    const task = await world.client.enqueue(known, { n: 1 });
    await world.advance("2h");
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0, failures: 0 });
    expect(world.of("deferred", task.id)[0]).toMatchObject({ reason: "unknown-schema" });
    expect(world.of("attempt-started", task.id)).toEqual([]);
    stranger.stop();
    await world.during(stranger.ended);
    world.worker([known.handle(() => undefined)]);
    await world.until(() => world.record(task.id).state === "succeeded", "5m");
    expect(world.record(task.id).attempts).toBe(1);
    await world.close();
  });

  test("does not die of an old copy that was refused elsewhere, while a worker that takes it has run it since", async () => {
    const world = await flowWorld();
    const first = world.worker(
      [
        known.handle(() => {
          throw new SnoozeError("20m");
        }),
      ],
      { scheduler: false },
    );
    const task = await world.client.enqueue(known, { n: 1 });
    await world.until(() => world.record(task.id).snoozes === 1);
    first.stop();
    await world.during(first.ended);
    const body = world.calls.find(({ verb }) => verb === "send")?.entry ?? "";
    await world.advance("21m");
    await send(world, markUnknownSince(body, world.clock.now() - DAY_MS));
    world.worker([stricter.handle(() => undefined)], { scheduler: false });
    await world.advance(DAY_MS - 3_600_000);
    expect(world.record(task.id)).toMatchObject({ state: "queued", snoozes: 1 });
    await world.advance("2h");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "INPUT_INVALID" });
    await world.close();
  });

  test("is dead as INPUT_INVALID after a day, with what the schema found", async () => {
    const world = await flowWorld();
    world.worker([stricter.handle(() => undefined)], { scheduler: false });
    const task = await world.client.enqueue(known, { n: 1 });
    await world.advance(DAY_MS - 120_000);
    expect(world.record(task.id).state).toBe("queued");
    await world.advance("5m");
    expect(await task.get()).toMatchObject({ state: "dead", reason: "INPUT_INVALID", attempts: 0, failures: 0 });
    expect((await world.letters())[0]?.message).toContain("unit");
    await world.close();
  });
});

describe("F10 a message that is no envelope of ours", () => {
  const foreign = encodeEnvelope({
    kind: "task",
    queue: "another",
    id: "0123456789abcdef0123",
    task: "known",
    epoch: 1,
    dueAt: 1,
    deferrals: 0,
    passedOver: false,
  });

  test.each([
    ["UNDECODABLE", "garbage"],
    ["UNDECODABLE", "{}"],
    ["UNDECODABLE", '{"v":1,"q":"tasklane","id":"short","t":"known","e":1}'],
    ["UNDECODABLE", `{"v":1,"__proto__":{"polluted":true}}`],
    ["UNDECODABLE", "[".repeat(50_000)],
    ["UNDECODABLE", "g".repeat(100_000)],
    ["WRONG_QUEUE", foreign],
  ])("is a dead record at once, as %s, with its bytes and a letter", async (reason, body) => {
    const world = await flowWorld();
    await send(world, body);
    world.worker([known.handle(() => undefined)]);
    await world.advance("1s");
    const records = [...world.audit.records.values()];
    expect(records).toMatchObject([{ state: "dead", reason, attempts: 0, task: "unknown" }]);
    const [letter] = await world.letters();
    expect(letter).toMatchObject({ id: records[0]?.id, reason });
    // What does not fit the letter is named there.
    expect(letter?.payload).toMatch(body.length <= 50_000 ? JSON.stringify(body) : /^[is][jz]\./);
    expect(await queueDepth(world)).toBe(0);
    expect(world.of("dead")).toMatchObject([{ reason }]);
    await world.close();
  });

  test("dies once, though it comes twice", async () => {
    const world = await flowWorld();
    await send(world, "garbage");
    let writes = 0;
    world.faults = ({ verb }) => (verb === "acknowledge" && writes++ === 0 ? "refused" : undefined);
    world.worker([known.handle(() => undefined)]);
    await world.advance("2m");
    expect(world.audit.records.size).toBe(1);
    expect(world.of("dead")).toHaveLength(1);
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("stays in the queue while the ledger does not take its record", async () => {
    const world = await flowWorld();
    await send(world, "garbage");
    world.faults = ({ verb }) => (verb === "recordMany" ? "refused" : undefined);
    world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance("30s");
    expect(await queueDepth(world)).toBe(1);
    world.faults = undefined;
    await world.advance("10s");
    expect([...world.audit.records.values()]).toMatchObject([{ state: "dead", reason: "UNDECODABLE" }]);
    await world.close();
  });

  test("takes no task with it that came in the same batch", async () => {
    const world = await flowWorld();
    const before = await world.client.enqueue(known, { n: 1 });
    await send(world, "garbage");
    const after = await world.client.enqueue(known, { n: 2 });
    world.worker([known.handle(() => undefined)]);
    await world.advance("1s");
    for (const { id } of [before, after]) expect(world.record(id).state).toBe("succeeded");
    await world.close();
  });

  test("is decoded alone from its third receive on, after the others of its batch are claimed", async () => {
    const world = await flowWorld();
    await send(world, "garbage");
    for (let receive = 0; receive < 2; receive++) await world.take();
    const task = await world.client.enqueue(known, { n: 1 });
    const order: string[] = [];
    world.faults = ({ verb }) => {
      if (verb === "claimMany" || verb === "recordMany") order.push(verb);
      return undefined;
    };
    world.worker([known.handle(() => undefined)]);
    await world.advance("1s");
    expect(order).toEqual(["claimMany", "recordMany"]);
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });
});
