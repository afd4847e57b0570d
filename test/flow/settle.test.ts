import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { Faults } from "../../lib/memory/memory-faults.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { SnoozeError, TerminalError } from "../../lib/task/handler-errors.ts";
import type { FlowHost } from "../support/flow-host.ts";
import { flowWorld } from "../support/flow-world.ts";

const input = z.object({ n: z.number().optional() });
const STEADY = { initial: "10s", factor: 1, max: "10s", jitter: "none" } as const;
const plain = defineTask({ name: "plain", input, backoff: STEADY, timeout: "10m" });

/** Strikes a verb so many times. */
function strikeTimes(verb: string, times: number, fault: ReturnType<Faults>): Faults {
  let left = times;
  return (call) => (call.verb === verb && left-- > 0 ? fault : undefined);
}

/** What handlers do, by what the input asks for: all the outcomes there are. */
const outcomes = {
  succeeds: { act: () => undefined, state: "succeeded" },
  fails: {
    act: (attempt: number) => {
      if (attempt === 1) throw new Error("no luck");
    },
    state: "succeeded",
  },
  snoozes: {
    act: (attempt: number) => {
      if (attempt === 1) throw new SnoozeError("10s");
    },
    state: "succeeded",
  },
  dies: {
    act: () => {
      throw new TerminalError("no");
    },
    state: "dead",
  },
} as const;

describe("F19 a settlement that the ledger does not take", () => {
  test.each(["refused", "unanswered"] as const)(
    "is asked for again until the ledger tells for sure: %s",
    async (fault) => {
      for (const { act, state } of Object.values(outcomes)) {
        const world = await flowWorld();
        world.worker([plain.handle((_input, { attempt }) => act(attempt))]);
        world.faults = strikeTimes("settleMany", 4, fault);
        const { id } = await world.client.enqueue(plain, {});
        await world.until(() => world.record(id).state === state, "2m");
        expect(world.record(id).crashes).toBe(0);
        expect(world.audit.commitsOf(id)).toBe(1);
        expect(world.of("attempt-started", id).length).toBe(world.record(id).attempts);
        expect(world.audit.violations).toEqual([]);
        await world.close();
      }
    },
  );

  test("F20 an answer lost after the write landed is recognised as ours: settle", async () => {
    const world = await flowWorld();
    let runs = 0;
    world.worker([plain.handle(() => void runs++)]);
    world.faults = strikeTimes("settleMany", 1, "unanswered");
    const { id } = await world.client.enqueue(plain, {});
    await world.advance("10s");
    expect(world.record(id)).toMatchObject({ state: "succeeded", attempts: 1 });
    expect(runs).toBe(1);
    expect(world.of("attempt-ended", id)).toMatchObject([{ outcome: "succeeded" }]);
    expect(world.of("settle-delayed")).toHaveLength(1);
    await world.close();
  });

  test("outlives an outage of ten minutes in the memory of its worker, renewed all the while, and runs once", async () => {
    const world = await flowWorld();
    let runs = 0;
    const handlers = [plain.handle(() => void runs++)];
    world.worker(handlers);
    // Only settlements fail: claims, renewals and all else go through.
    world.faults = ({ verb }) => (verb === "settleMany" ? "refused" : undefined);
    const { id } = await world.client.enqueue(plain, {});
    await world.advance("1s");
    world.worker(handlers);
    await world.advance("10m");
    expect(world.record(id)).toMatchObject({ state: "running", attempts: 1 });
    world.faults = undefined;
    await world.advance("10s");
    expect(world.record(id)).toMatchObject({ state: "succeeded", attempts: 1, crashes: 0 });
    expect(runs).toBe(1);
    await world.close();
  });

  test("keeps its worker from claiming anything new meanwhile, and from no longer than that", async () => {
    const world = await flowWorld();
    world.worker([plain.handle(() => undefined)]);
    world.faults = ({ verb }) => (verb === "settleMany" ? "refused" : undefined);
    const first = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    expect(world.record(first.id).state).toBe("running");
    const later = await world.client.enqueueMany(plain, [{ input: { n: 2 } }, { input: { n: 3 } }]);
    const before = world.calls.length;
    await world.advance("5m");
    expect(world.calls.slice(before).filter(({ verb }) => verb === "claimMany")).toEqual([]);
    for (const { id } of later) expect(world.record(id)).toMatchObject({ state: "queued", attempts: 0 });
    world.faults = undefined;
    await world.until(() => later.every(({ id }) => world.record(id).state === "succeeded"), "1m");
    for (const { id } of [first, ...later]) expect(world.of("attempt-started", id)).toHaveLength(1);
    await world.close();
  });

  test("lets other workers go on", async () => {
    const world = await flowWorld();
    const troubled = world.worker([plain.handle(() => undefined)], { scheduler: false });
    const first = await world.client.enqueue(plain, { n: 1 });
    world.faults = ({ verb, target }) => (verb === "settleMany" && target === first.id ? "refused" : undefined);
    await world.advance("1s");
    world.worker([plain.handle(() => undefined)], { scheduler: false });
    const second = await world.client.enqueue(plain, { n: 2 });
    await world.advance("40s");
    expect(world.record(second.id).state).toBe("succeeded");
    expect(troubled.events.some((event) => event.type === "attempt-started" && event.taskId === second.id)).toBe(false);
    await world.close();
  });

  test("is given up when another worker has taken the task over: nothing of the attempt counts", async () => {
    const world = await flowWorld();
    const work = defineTask({ name: "work", input, output: z.string(), timeout: "10m" });
    const handlersOf = (by: string, ms: number) => (host: FlowHost) => [
      work.handle(async () => {
        await host.pause(ms);
        return by;
      }),
    ];
    const first = world.worker(handlersOf("first", 1_000), { scheduler: false });
    const task = await world.client.enqueue(work, {});
    await world.until(() => first.events.some(({ type }) => type === "attempt-started"));
    first.host.freeze();
    world.worker(handlersOf("second", 20_000), { scheduler: false });
    await world.until(() => world.record(task.id).attempts === 2, "2m");
    first.host.thaw();
    await world.until(() => world.record(task.id).state === "succeeded", "2m");
    expect(await task.result()).toBe("second");
    expect(first.events.filter(({ type }) => type === "attempt-ended")).toMatchObject([{ outcome: "lost" }]);
    expect(first.log.find(({ message }) => message === "attempt ended")).toMatchObject({
      level: "error",
      fields: { outcome: "lost" },
    });
    expect(world.audit.commitsOf(task.id)).toBe(1);
    await world.close();
  });
});

describe("what follows a settlement", () => {
  test("F41 of a retry is a new message with the delay, and then the old one is acknowledged", async () => {
    const world = await flowWorld();
    world.worker([plain.handle((_input, { attempt }) => outcomes.fails.act(attempt))], { scheduler: false });
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 1, inFlight: 0 });
    const order = world.calls
      .map(({ verb }) => verb)
      .filter((verb) => ["settleMany", "send", "acknowledge"].includes(verb));
    expect(order).toEqual(["send", "settleMany", "send", "acknowledge"]);
    expect(world.record(task.id).notBefore).toBe((world.of("attempt-ended", task.id)[0]?.at ?? 0) + 10_000);
    await world.close();
  });

  test("of a retry whose message cannot be sent is the old message, shown again when the time has come", async () => {
    const world = await flowWorld();
    world.worker([plain.handle((_input, { attempt }) => outcomes.fails.act(attempt))], { scheduler: false });
    const task = await world.client.enqueue(plain, {});
    world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
    await world.advance("1s");
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 1 });
    await world.advance("12s");
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 2 });
    const [first, second] = world.of("attempt-started", task.id);
    expect((second?.at ?? 0) - (first?.at ?? 0)).toBeGreaterThanOrEqual(10_000);
    await world.close();
  });

  test("of a retry whose worker dies before the send is its old message, and counts no crash", async () => {
    const world = await flowWorld();
    const first = world.worker([plain.handle((_input, { attempt }) => outcomes.fails.act(attempt))], {
      scheduler: false,
    });
    const task = await world.client.enqueue(plain, {});
    first.host.onCall = ({ verb, phase }) => {
      if (verb === "settleMany" && phase === "after") first.host.kill();
    };
    await world.until(() => first.host.isDead);
    world.worker([plain.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(task.id).state === "succeeded", "2m");
    expect(world.record(task.id)).toMatchObject({ attempts: 2, failures: 1, crashes: 0 });
    await world.close();
  });

  test("of many is acknowledged in as few requests as SQS allows", async () => {
    const world = await flowWorld();
    const worker = world.worker([plain.handle(() => undefined)], { scheduler: false });
    let requests = 0;
    worker.host.onCall = ({ verb, phase }) => {
      if (verb === "acknowledge" && phase === "before") requests++;
    };
    await world.client.enqueueMany(
      plain,
      Array.from({ length: 50 }, (_, n) => ({ input: { n } })),
    );
    await world.advance("2s");
    expect([...world.audit.records.values()].every(({ state }) => state === "succeeded")).toBe(true);
    expect(requests).toBeLessThanOrEqual(10);
    await world.close();
  });
});

describe("F48 a cancel", () => {
  const long = (ms: number, honours: boolean) => (host: FlowHost) => [
    plain.handle(async (_input, { signal }) => {
      await host.pause(ms, honours ? signal : undefined);
      if (honours) signal.throwIfAborted();
    }),
  ];

  test("of a queued task is final at once, and its message is dropped", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, {});
    expect(await task.cancel("not needed")).toBe("cancelled");
    world.worker(long(1_000, true));
    await world.advance("2s");
    expect(await task.get()).toMatchObject({
      state: "cancelled",
      reason: "CANCELLED",
      message: "not needed",
      attempts: 0,
    });
    expect(world.of("attempt-started")).toEqual([]);
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    await world.close();
  });

  test("of a task for later takes it from the scheduler", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(plain, {}, { delay: "3h" });
    await task.cancel();
    expect(world.record(task.id)).not.toHaveProperty("owedAt");
    world.worker(long(1_000, true));
    await world.advance("4h");
    expect(world.of("resent")).toEqual([]);
    expect(world.record(task.id).state).toBe("cancelled");
    await world.close();
  });

  test("of a running task is seen at its next renewal, within a lease, and aborts its signal", async () => {
    const world = await flowWorld();
    world.worker(long(300_000, true));
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    expect(await task.cancel("not needed")).toBe("running");
    expect(await task.get()).toMatchObject({ state: "running", cancelRequested: "not needed" });
    const asked = world.clock.now();
    await world.until(() => world.record(task.id).state === "cancelled", "1m");
    expect(world.clock.now() - asked).toBeLessThanOrEqual(30_000);
    const message = expect.stringContaining("not needed");
    expect(await task.get()).toMatchObject({ reason: "CANCELLED", message, attempts: 1, failures: 0 });
    expect(world.of("handler-abandoned")).toEqual([]);
    await world.close();
  });

  test("of a running task loses to a success that comes first", async () => {
    const world = await flowWorld();
    world.worker(long(10_000, false));
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    expect(await task.cancel()).toBe("running");
    await world.advance("20s");
    expect(world.record(task.id).state).toBe("succeeded");
    expect(world.audit.commitsOf(task.id)).toBe(1);
    await world.close();
  });

  test("that was asked for while an attempt failed ends the task before its next start", async () => {
    const world = await flowWorld();
    world.worker((host) => [
      plain.handle(async () => {
        await host.pause(5_000);
        throw new Error("no luck");
      }),
    ]);
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    await task.cancel("not needed");
    await world.advance("1m");
    expect(await task.get()).toMatchObject({ state: "cancelled", failures: 1, attempts: 1 });
    expect(world.of("attempt-started")).toHaveLength(1);
    await world.close();
  });

  test("of a task whose worker died ends it at the takeover, without a start", async () => {
    const world = await flowWorld();
    const first = world.worker(long(60_000, true), { scheduler: false });
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    first.host.kill();
    await task.cancel("not needed");
    world.worker(long(1_000, true), { scheduler: false });
    await world.until(() => world.record(task.id).state === "cancelled", "2m");
    expect(await task.get()).toMatchObject({ attempts: 1, crashes: 1 });
    expect(world.of("attempt-started")).toHaveLength(1);
    await world.close();
  });

  test("of a task that has ended is CANCEL_REFUSED, and changes nothing", async () => {
    const world = await flowWorld();
    world.worker(long(10, true));
    const task = await world.client.enqueue(plain, {});
    await world.advance("1s");
    const before = world.record(task.id);
    await expect(task.cancel()).rejects.toMatchObject({ code: "CANCEL_REFUSED" });
    expect(world.record(task.id)).toEqual(before);
    await world.close();
  });

  test("and a completion at every moment of each other leave one answer of the two, never both", async () => {
    const answers = new Set<string>();
    for (let steps = 0; steps < 120; steps++) {
      const world = await flowWorld();
      const task = await world.client.enqueue(plain, {});
      world.worker([plain.handle(() => undefined)], { scheduler: false });
      // The cancel begins a step later each time.
      for (let step = 0; step < steps; step++) await Promise.resolve();
      const answer = await task.cancel().catch((error: unknown) => error);
      await world.advance("1s");
      const { state } = world.record(task.id);
      expect(world.audit.violations).toEqual([]);
      expect(world.audit.commitsOf(task.id)).toBe(1);
      expect(state).toBe(answer === "cancelled" ? "cancelled" : "succeeded");
      answers.add(state);
      await world.close();
    }
    expect([...answers].toSorted()).toEqual(["cancelled", "succeeded"]);
  });
});
