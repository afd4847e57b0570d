import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/index.ts";
import { Deadline } from "../../lib/lambda/deadline.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";
import { concludeEvent, receiveEvent, worldFunction } from "./memory-source.ts";

const input = z.object({ ms: z.int() });
const short = defineTask({ name: "short", input, timeout: "10s" });
const long = defineTask({ name: "long", input, timeout: "60s", backoff: { initial: "1s", max: "1s" }, maxRetries: 2 });
const middling = defineTask({ name: "middling", input, timeout: "54s" });

const working = (host: FlowHost) =>
  [short, long, middling].map((task) =>
    task.handle(async ({ ms }, ctx) => {
      await host.pause(ms, ctx.signal);
      ctx.signal.throwIfAborted();
    }),
  );

/** Calls the function with what comes until nothing is left, or for so many invocations. */
async function serveAll(world: FlowWorld, host: FlowHost, ms: number, most: number, concurrency = 20): Promise<number> {
  const served = worldFunction(world, { handlers: working(host), concurrency }, host);
  for (let times = 0; times < most; times++) {
    const { visible, delayed, inFlight } = await world.backend.queue.depth({ lane: "normal" });
    if (visible + delayed + inFlight === 0) return times;
    if (visible === 0) await world.advance("10s");
    else {
      const { tookMs } = await served.serve(ms);
      if (tookMs >= ms) throw new Error(`the function was late: ${tookMs} ms`);
    }
  }
  return most;
}

describe("the time of an invocation", () => {
  test.each([-1, 0, Number.NaN, Number.NEGATIVE_INFINITY])("F07 of %d ms is over, and nothing fits", (remaining) => {
    const deadline = new Deadline(new ManualClock(), { getRemainingTimeInMillis: () => remaining });
    expect(deadline).toMatchObject({ isSet: true, leftMs: 0, workMs: 0 });
    expect(deadline.fits(1)).toBe(false);
  });

  test("F07 of 1 ms is within the reserve, and no context is no end", () => {
    const clock = new ManualClock();
    expect(new Deadline(clock, { getRemainingTimeInMillis: () => 1 }).fits(1)).toBe(false);
    const byHand = new Deadline(clock, undefined);
    clock.advance(3_600_000);
    expect(byHand.isSet).toBe(false);
    expect(byHand.fits(43_200_000)).toBe(true);
    expect(byHand.limitMs(43_200_000)).toBe(undefined);
  });

  test("F06 fits an attempt whose timeout is that of the function at its beginning only", () => {
    const clock = new ManualClock();
    const deadline = new Deadline(clock, { getRemainingTimeInMillis: () => 59_988 });
    expect(deadline.fits(60_000)).toBe(true);
    expect(deadline.fits(60_001)).toBe(false);
    clock.advance(2_001);
    expect(deadline.fits(60_000)).toBe(false);
    expect(deadline.fits(50_000)).toBe(true);
    clock.advance(53_000);
    expect(deadline.fits(1)).toBe(false);
  });
});

describe("a function near its deadline", () => {
  test("F06 starts nothing that may not end, touches nothing of it, and shows it again at once", async () => {
    const world = await flowWorld();
    const first = await world.client.enqueue(short, { ms: 9_000 });
    const second = await world.client.enqueue(short, { ms: 1_000 });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host), concurrency: 1, lease: "30s" }, host);
    const event = await receiveEvent(world);
    const before = world.calls.length;
    // The timeouts of other tasks say nothing here: an earlier invocation had the whole time of the function.
    await served.call({ Records: [] }, 60_000);
    const report = await served.call(event, 15_000);
    await concludeEvent(world, event, report);
    expect(world.record(first.id)).toMatchObject({ state: "succeeded" });
    expect(world.record(second.id)).toMatchObject({ state: "queued", attempts: 0, crashes: 0 });
    expect(
      world.calls.slice(before).filter(({ verb, target }) => verb === "claimMany" && target === second.id),
    ).toEqual([]);
    expect(report.batchItemFailures).toEqual([{ itemIdentifier: event.Records[1]?.messageId }]);
    expect(await world.take()).toHaveLength(1);
    await world.close();
  });

  test("F06 F14 interrupts what it must, which counts as nothing and comes again", async () => {
    const world = await flowWorld();
    await world.client.enqueue(short, { ms: 1_500 });
    const task = await world.client.enqueue(middling, { ms: 53_900 });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host), concurrency: 1 }, host);
    // It starts a moment after the beginning: its timeout ends after the time for work does.
    const { tookMs, report } = await served.serve(60_000);
    expect(report.batchItemFailures).toEqual([]);
    expect(tookMs).toBeGreaterThanOrEqual(55_000);
    expect(tookMs).toBeLessThan(56_000);
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 1, failures: 0, interruptions: 1 });
    expect(served.log.map(({ message }) => message)).toContain("out of time");
    await world.advance("2s");
    await served.serve(60_000);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 2, failures: 0, crashes: 0 });
    await world.close();
  });

  test("F06 an attempt that no invocation could give its timeout times out, and does not come back for ever", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(long, { ms: 58_000 });
    const fits = await world.client.enqueue(long, { ms: 50_000 });
    expect(await serveAll(world, world.newHost(), 59_990, 20)).toBeLessThan(20);
    expect(world.record(task.id)).toMatchObject({
      state: "dead",
      reason: "RETRIES_EXHAUSTED",
      failures: 3,
      crashes: 0,
    });
    expect(world.record(fits.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    await world.close();
  });

  test("F06 a task whose timeout is above the function's waits for a function that can take it, and holds up no other", async () => {
    const world = await flowWorld();
    const [refused, neighbour] = [
      await world.client.enqueue(long, { ms: 5_000 }),
      await world.client.enqueue(short, { ms: 5_000 }),
    ];
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host) }, host);
    for (let minutes = 0; minutes < 60; minutes++) {
      await served.serve(30_000);
      await world.advance("1m");
    }
    expect(world.record(neighbour.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    expect(world.record(refused.id)).toMatchObject({ state: "queued", attempts: 0, failures: 0, crashes: 0 });
    expect(served.log.filter(({ message }) => message === "task refused")).toHaveLength(2);
    // The function's timeout was raised.
    const raised = worldFunction(world, { handlers: working(host) }, host);
    await raised.serve(120_000);
    expect(world.record(refused.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    await world.close();
  });

  test("F06 a function of one second refuses what takes longer, and does not spin", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(short, { ms: 1 });
    const served = worldFunction(world, { handlers: working(world.newHost()) });
    let received = 0;
    for (let seconds = 0; seconds < 600; seconds++) {
      received += (await served.serve(995)).event.Records.length;
      await world.advance("1s");
    }
    expect(received).toBeLessThan(50);
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0 });
    expect(served.log.filter(({ level }) => level === "error").map(({ message }) => message)).toContain("task refused");
    await world.close();
  });

  test("F06 a handler that ignores its signal costs the others nothing, and leaves no timer behind", async () => {
    const world = await flowWorld();
    const deaf = defineTask({ name: "deaf", input, timeout: "54s" });
    await world.client.enqueue(short, { ms: 1_000 });
    const stubborn = await world.client.enqueue(deaf, { ms: 0 });
    const fine = await world.client.enqueue(short, { ms: 5_000 });
    const host = world.newHost();
    let let_go = (): void => undefined;
    const handlers = [...working(host), deaf.handle(() => new Promise<void>((resolve) => (let_go = resolve)))];
    const served = worldFunction(world, { handlers, concurrency: 2 }, host);
    const { report, tookMs } = await served.serve(60_000);
    expect(tookMs).toBeLessThan(60_000);
    expect(report.batchItemFailures).toEqual([]);
    expect(world.record(fine.id).state).toBe("succeeded");
    expect(world.record(stubborn.id)).toMatchObject({ state: "queued", crashes: 0 });
    expect(served.log.map(({ message }) => message)).toContain("handler abandoned");
    expect(world.clock.pending).toBe(0);
    // In a later invocation of the same environment it comes to its end, and touches nothing.
    const record = world.record(stubborn.id);
    let_go();
    await world.settle();
    expect(world.record(stubborn.id)).toEqual(record);
    expect(world.clock.pending).toBe(0);
    await world.close();
  });

  test("F06 F18 a ledger that does not take settlements does not hold it longer than it has", async () => {
    const world = await flowWorld();
    const tasks = await Promise.all([1, 2, 3].map((ms) => world.client.enqueue(short, { ms })));
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host), lease: "10s" }, host);
    world.faults = ({ verb }) => (verb === "settleMany" ? "refused" : undefined);
    const { event, report, tookMs } = await served.serve(60_000);
    expect(tookMs).toBeLessThan(60_000);
    expect(event.Records).toHaveLength(3);
    expect(report.batchItemFailures.map(({ itemIdentifier }) => itemIdentifier).sort()).toEqual(
      event.Records.map(({ messageId }) => messageId).sort(),
    );
    expect(world.clock.pending).toBe(0);
    world.faults = undefined;
    await world.advance("1m");
    await serveAll(world, host, 60_000, 400);
    for (const task of tasks) expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });

  test("F06 a message that finds no time again and again is sent anew before its receives are used up", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(short, { ms: 1 });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host) }, host);
    await served.call({ Records: [] }, 60_000);
    const seen = new Set<string>();
    for (let times = 0; times < 30; times++) {
      const event = await receiveEvent(world);
      expect(event.Records).toHaveLength(1);
      for (const { messageId, attributes } of event.Records) {
        seen.add(messageId);
        expect(Number(attributes.ApproximateReceiveCount)).toBeLessThanOrEqual(10);
      }
      await concludeEvent(world, event, await served.call(event, 5_000));
    }
    expect(seen.size).toBe(3);
    await served.serve(60_000);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1 });
    await world.close();
  });

  test("F09 a suspect that finds no time behind its neighbours is put back until it finds an empty invocation", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(middling, { ms: 1_000 });
    const dying = world.newHost();
    const first = worldFunction(world, { handlers: working(dying) }, dying);
    const event = await receiveEvent(world);
    void first.start(event, 60_000);
    await world.advance("500ms");
    dying.kill();
    await world.advance("6m");
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host) }, host);
    for (let times = 0; times < 3; times++) await world.client.enqueue(short, { ms: 9_000 });
    const { event: together, report } = await served.serve(60_000);
    expect(together.Records).toHaveLength(4);
    // Its own message is dealt with: another was sent, so that it is not received again and again.
    expect(report.batchItemFailures).toEqual([]);
    expect(served.metrics.map((line) => JSON.parse(line))).toContainEqual(
      expect.objectContaining({ Task: "middling", Deferred: 1 }),
    );
    expect(world.record(task.id).state).toBe("running");
    await world.advance("31s");
    await served.serve(60_000);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", crashes: 1 });
    await world.close();
  });

  test("F06 whatever comes with whatever timeout, no invocation is late and no task is lost or charged", async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(
          fc.record({ task: fc.constantFrom(short, middling), part: fc.double({ min: 0, max: 0.95, noNaN: true }) }),
          {
            minLength: 1,
            maxLength: 12,
          },
        ),
        fc.constantFrom(1, 3, 20),
        fc.integer({ min: 59_900, max: 60_000 }),
        async (wanted, concurrency, ms) => {
          const world = await flowWorld();
          const tasks = await Promise.all(
            wanted.map(({ task, part }) => world.client.enqueue(task, { ms: Math.round(part * task.timeoutMs) })),
          );
          await serveAll(world, world.newHost(), ms, 600, concurrency);
          for (const task of tasks)
            expect(world.record(task.id)).toMatchObject({ state: "succeeded", failures: 0, crashes: 0 });
          await world.close();
        },
      ),
      { numRuns: 25 },
    );
  });
});

describe("a function's heartbeat", () => {
  test("first comes after the less of 5 s and a third of the lease, and covers what has ended until the function returns", async () => {
    for (const [lease, firstMs] of [
      ["30s", 5_000],
      ["6s", 2_000],
    ] as const) {
      const world = await flowWorld();
      await world.client.enqueue(middling, { ms: 20_000 });
      await world.client.enqueue(short, { ms: 100 });
      const host = world.newHost();
      const served = worldFunction(world, { handlers: working(host), lease }, host);
      const event = await receiveEvent(world);
      const began = world.clock.now();
      const done = served.start(event, 60_000);
      const hides = () => world.calls.filter(({ verb }) => verb === "hide");
      await world.until(() => hides().length > 0, "1m");
      expect(world.clock.now() - began).toBe(firstMs);
      const receipts = event.Records.map(({ receiptHandle }) => receiptHandle);
      expect(new Set(hides().map(({ entry }) => entry))).toEqual(new Set(receipts));
      await world.during(done);
      // The one that ended first was extended as long as the other.
      for (const receipt of receipts)
        expect(hides().filter(({ entry }) => entry === receipt).length).toBeGreaterThan(1);
      expect(world.clock.pending).toBe(0);
      await world.close();
    }
  });
});

describe("what hangs does not hold a function beyond its deadline", () => {
  const stored = defineTask({ name: "stored", input: z.object({ text: z.string() }), timeout: "10s" });
  const deaf = defineTask({
    name: "deaf",
    input,
    timeout: "10s",
    backoff: { initial: "1s", max: "1s" },
    maxRetries: 1,
  });

  test("F08 a payload store that does not answer costs no crash and no attempt, however often", async () => {
    const world = await flowWorld();
    const runs: string[] = [];
    const task = await world.client.enqueue(stored, { text: noise(90_000) });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: [stored.handle(({ text }) => void runs.push(text))] }, host);
    world.faults = ({ verb }) => (verb === "get" ? new Promise<undefined>(() => undefined) : undefined);
    for (let times = 0; times < 5; times++) {
      const { tookMs } = await served.serve(20_000);
      expect(tookMs).toBeLessThan(20_000);
      await world.advance("5s");
    }
    expect(world.record(task.id)).toMatchObject({ state: "queued", attempts: 0, crashes: 0 });
    world.faults = undefined;
    await served.serve(20_000);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    expect(runs).toHaveLength(1);
    await world.close();
  });

  test("F06 a handler that ignores its signal is settled as timed out before the end, and leaves no timer", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(deaf, { ms: 0 });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: [deaf.handle(() => new Promise<never>(() => undefined))] }, host);
    const { tookMs } = await served.serve(10_000);
    expect(tookMs).toBeLessThan(10_000);
    expect(world.record(task.id)).toMatchObject({ state: "queued", failures: 1, crashes: 0 });
    expect(world.clock.nextTimerAt()).toBeUndefined();
    await world.advance("2s");
    await served.serve(10_000);
    expect(world.record(task.id)).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", crashes: 0 });
    await world.close();
  });

  test("a function of one second runs what fits into half of it", async () => {
    const world = await flowWorld();
    const quick = defineTask({ name: "quick", input, timeout: "400ms" });
    const task = await world.client.enqueue(quick, { ms: 1 });
    const served = worldFunction(world, { handlers: [quick.handle(() => undefined)] });
    await served.serve(995);
    expect(world.record(task.id)).toMatchObject({ state: "succeeded" });
    await world.close();
  });

  test("F41 counters that are not written hold the answer for a second at most", async () => {
    const world = await flowWorld();
    await world.client.enqueue(short, { ms: 1 });
    const host = world.newHost();
    const served = worldFunction(world, { handlers: working(host) }, host);
    world.faults = ({ verb }) => (verb === "addCounters" ? new Promise<undefined>(() => undefined) : undefined);
    const { tookMs, report } = await served.serve(60_000);
    expect(report.batchItemFailures).toEqual([]);
    expect(tookMs).toBeGreaterThanOrEqual(1_000);
    expect(tookMs).toBeLessThan(1_200);
    world.faults = undefined;
    await world.close();
  });
});
