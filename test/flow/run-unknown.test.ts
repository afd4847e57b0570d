import { describe, expect, test } from "vitest";
import { z } from "zod";
import { sleep } from "../../lib/ports/clock.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { SnoozeError } from "../../lib/task/handler-errors.ts";
import { encodeEnvelope, markUnknownSince } from "../../lib/task/envelope.ts";
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
    const crashing = world.worker((host) => [renamed.handle(() => host.pause(3_600_000))], {
      scheduler: false,
      lease: "10s",
    });
    const task = await world.client.enqueue(renamed, { n: 1 });
    await world.until(() => world.record(task.id).state === "running");
    crashing.host.kill();
    world.worker([known.handle(() => undefined)]);
    await world.advance(DAY_MS - 60_000);
    expect(world.record(task.id).state).toBe("running");
    await world.advance("15m");
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "UNKNOWN_TASK", attempts: 1 });
    expect(await world.letters()).toMatchObject([{ id: task.id, reason: "UNKNOWN_TASK" }]);
    await world.advance("1h");
    expect(await queueDepth(world)).toBe(0);
    await world.close();
  });

  test("goes on where its last attempt crashed, once a worker that knows it is back within the day", async () => {
    const world = await flowWorld();
    const crashing = world.worker((host) => [renamed.handle(() => host.pause(3_600_000))], {
      scheduler: false,
      lease: "10s",
    });
    const task = await world.client.enqueue(renamed, { n: 1 });
    await world.until(() => world.record(task.id).state === "running");
    crashing.host.kill();
    const other = world.worker([known.handle(() => undefined)], { scheduler: false });
    await world.advance("23h");
    other.stop();
    world.worker([renamed.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded", "1h");
    expect(world.record(task.id)).toMatchObject({ attempts: 2, crashes: 1 });
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
