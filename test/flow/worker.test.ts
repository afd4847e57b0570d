import { describe, expect, test } from "vitest";
import { z } from "zod";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import type { ErrorCode } from "../../lib/task/errors.ts";
import type { Lane } from "../../lib/task/lane.ts";
import { LANES } from "../../lib/task/lane.ts";
import { createWorker } from "../../lib/worker.ts";
import type { FlowHost } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

const plain = defineTask({ name: "plain", input: z.object({ n: z.number() }), timeout: "10m" });
const ALL_LANES = { spec: { lanes: LANES } };

function taking(ms: number) {
  return (host: FlowHost) => [plain.handle((_input, { signal }) => host.pause(ms, signal))];
}

async function fill(world: FlowWorld, lane: Lane, count: number): Promise<string[]> {
  const entries = Array.from({ length: count }, (_, n) => ({ input: { n }, options: { lane } }));
  return (await world.client.enqueueMany(plain, entries)).map(({ id }) => id);
}

/** How many handlers of each lane run now. */
function running(world: FlowWorld): Partial<Record<Lane, number>> {
  const counts: Partial<Record<Lane, number>> = {};
  for (const { state, lane } of world.audit.records.values())
    if (state === "running") counts[lane] = (counts[lane] ?? 0) + 1;
  return counts;
}

describe("a worker's start", () => {
  test("without a topology fails with TOPOLOGY_MISSING and says how to give one", async () => {
    const before = process.env["TASKLANE_TOPOLOGY"];
    delete process.env["TASKLANE_TOPOLOGY"];
    try {
      const worker = createWorker({ handlers: [plain.handle(() => undefined)] });
      const failure = await worker.run({ signal: AbortSignal.abort() }).catch((error: unknown) => error);
      expect(TasklaneError.is(failure, "TOPOLOGY_MISSING")).toBe(true);
      expect(String(failure)).toContain("TASKLANE_TOPOLOGY");
    } finally {
      if (before !== undefined) process.env["TASKLANE_TOPOLOGY"] = before;
    }
  });

  test.each<[ErrorCode, string]>([
    ["RESOURCE_MISSING", "receive"],
    ["PERMISSION_DENIED", "receive"],
    ["RESOURCE_MISSING", "readDocument"],
    ["PERMISSION_DENIED", "readDocument"],
  ])("ends with %s where its %s says so, and every lane's polling ends with it", async (code, verb) => {
    const world = await flowWorld(ALL_LANES);
    world.faults = (call) => (call.verb === verb ? new TasklaneError(code, { what: "as the test asks" }) : undefined);
    const worker = world.worker(taking(10));
    await expect(world.during(worker.ended)).rejects.toMatchObject({ code });
    expect(world.clock.pending).toBe(0);
  });

  test("F18 F49 waits for a ledger and a queue that do not answer yet", async () => {
    const world = await flowWorld();
    world.faults = () => "refused";
    const worker = world.worker(taking(10));
    await world.advance("5m");
    expect(worker.end()).toBeUndefined();
    world.faults = undefined;
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("2m");
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });

  test("goes on where a queue is refused later: a deploy may be under way", async () => {
    const world = await flowWorld();
    const worker = world.worker(taking(10));
    await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    world.faults = ({ verb }) =>
      verb === "receive" ? new TasklaneError("RESOURCE_MISSING", { what: "as the test asks" }) : undefined;
    await world.advance("2m");
    expect(worker.end()).toBeUndefined();
    world.faults = undefined;
    const task = await world.client.enqueue(plain, { n: 2 });
    await world.advance("1m");
    expect(world.record(task.id).state).toBe("succeeded");
    await world.close();
  });

  test("is refused with HANDLER_DUPLICATE at once for two handlers of one task", () => {
    const handlers = [plain.handle(() => undefined), plain.handle(() => undefined)];
    expect(() => createWorker({ handlers })).toThrow("HANDLER_DUPLICATE");
  });

  test.each<[ErrorCode, object]>([
    ["OPTION_INVALID", { concurrency: 0 }],
    ["OPTION_INVALID", { concurrency: 1.5 }],
    ["OPTION_INVALID", { lanes: ["urgent"] }],
    ["OPTION_INVALID", { lease: "10ms" }],
    ["DURATION_INVALID", { shutdownGrace: "soon" }],
  ])("is refused with %s at once for %j", (code, options) => {
    const backend = createMemoryBackend({ clock: new ManualClock() });
    const make = (): unknown => createWorker({ backend, handlers: [plain.handle(() => undefined)], ...options });
    expect(make).toThrow(code);
  });

  test("F49 a whole region that is away for three hours costs no task anything, and it drains in minutes then", async () => {
    const world = await flowWorld();
    const workers = [world.worker(taking(500), { concurrency: 3 }), world.worker(taking(500), { concurrency: 3 })];
    const before = await fill(world, "normal", 20);
    await world.advance("600ms");
    world.faults = () => "refused";
    await expect(world.client.enqueue(plain, { n: 99 })).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    let requests = 0;
    for (const { host } of workers)
      host.onCall = ({ phase }) => {
        if (phase === "before") requests++;
      };
    await world.advance("3h");
    // Neither spins: what was running is settled again and again, and its message and lease are renewed.
    expect(requests / workers.length / (3 * 3_600)).toBeLessThan(3);
    world.faults = undefined;
    await world.until(() => before.every((id) => world.record(id).state === "succeeded"), "10m");
    for (const id of before) {
      expect(world.audit.commitsOf(id)).toBe(1);
      expect(world.of("attempt-started", id).length).toBeLessThanOrEqual(2);
    }
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });
});

describe("a worker's lanes", () => {
  test("share its slots about 8:4:2:1 while all of them have work, and none gets less than half of its own", async () => {
    const world = await flowWorld(ALL_LANES);
    for (const lane of LANES) await fill(world, lane, 600);
    world.worker((host) => [plain.handle(({ n }, { signal }) => host.pause(1_000 + ((n * 37) % 500), signal))], {
      concurrency: 15,
    });
    await world.advance("60s");
    const started = world.of("attempt-started");
    const share = (lane: Lane): number => (15 * started.filter((event) => event.lane === lane).length) / started.length;
    expect(share("critical")).toBeGreaterThan(4);
    expect(share("high")).toBeGreaterThan(2);
    expect(share("normal")).toBeGreaterThan(1);
    expect(share("low")).toBeGreaterThan(0.5);
    expect(LANES.toSorted((one, other) => share(other) - share(one))).toEqual(LANES);
    // The slots are busy all the time.
    expect(started.length).toBeGreaterThan((15 * 60) / 1.3);
    await world.close();
  });

  test("lend their idle slots, and get them back when they have work again", async () => {
    const world = await flowWorld(ALL_LANES);
    await fill(world, "low", 400);
    world.worker((host) => [plain.handle(({ n }, { signal }) => host.pause(1_000 + ((n * 37) % 500), signal))], {
      concurrency: 15,
    });
    await world.advance("5s");
    expect(running(world)).toEqual({ low: 14 });
    for (const lane of ["critical", "high", "normal"] as const) await fill(world, lane, 200);
    await world.advance("20s");
    const { critical = 0, high = 0, normal = 0, low = 0 } = running(world);
    expect(critical + high + normal + low).toBeGreaterThanOrEqual(13);
    expect(critical).toBeGreaterThanOrEqual(6);
    expect(low).toBeLessThanOrEqual(3);
    await world.close();
  });

  test("keep one slot for what is critical: it starts at once though all the others are busy", async () => {
    const world = await flowWorld(ALL_LANES);
    for (const lane of ["high", "normal", "low"] as const) await fill(world, lane, 50);
    world.worker(taking(60_000), { concurrency: 15 });
    await world.advance("5s");
    const [id = ""] = await fill(world, "critical", 1);
    await world.advance("100ms");
    expect(world.of("attempt-started", id)).toHaveLength(1);
    await world.close();
  });

  test.each([1, 2, 4, 15])("starve none of them, with %i slots and no end of urgent work", async (concurrency) => {
    const world = await flowWorld(ALL_LANES);
    const patient = await fill(world, "low", 3);
    for (const lane of ["critical", "high", "normal"] as const) await fill(world, lane, 200);
    world.worker(taking(1_000), { concurrency });
    await world.until(() => patient.every((id) => world.record(id).state === "succeeded"), "3m");
    // The others still have plenty to do.
    expect(await world.backend.queue.depth({ lane: "critical" })).toMatchObject({ visible: expect.any(Number) });
    expect((await world.backend.queue.depth({ lane: "normal" })).visible).toBeGreaterThan(50);
    await world.close();
  });

  test("are only those that it was told to poll", async () => {
    const world = await flowWorld(ALL_LANES);
    const [urgent = ""] = await fill(world, "critical", 1);
    const [patient = ""] = await fill(world, "low", 1);
    world.worker(taking(10), { lanes: ["low"] });
    await world.advance("1m");
    expect(world.record(patient).state).toBe("succeeded");
    expect(world.record(urgent).state).toBe("queued");
    await world.close();
  });

  test("that are not deployed come through normal's queue, and their tasks are run", async () => {
    const world = await flowWorld({ spec: { lanes: ["normal"] } });
    const ids = [...(await fill(world, "critical", 2)), ...(await fill(world, "low", 2))];
    world.worker(taking(10));
    await world.advance("1s");
    for (const id of ids) expect(world.record(id).state).toBe("succeeded");
    await world.close();
  });
});

describe("a worker's stop", () => {
  test("F42 lets what runs come to its end within the grace, shows the rest again at once, and resolves", async () => {
    const world = await flowWorld();
    const worker = world.worker(taking(10_000), { concurrency: 4, shutdownGrace: "25s" });
    const ids = await fill(world, "normal", 10);
    await world.advance("1s");
    worker.stop();
    expect(await world.during(worker.ended)).toEqual({ reason: "signal", interrupted: 0 });
    expect(world.clock.monotonic()).toBeLessThan(11_000);
    const states = ids.map((id) => world.record(id).state);
    expect(states.filter((state) => state === "succeeded")).toHaveLength(4);
    expect(states.filter((state) => state === "queued")).toHaveLength(6);
    expect(await world.backend.queue.depth({ lane: "normal" })).toEqual({ visible: 6, delayed: 0, inFlight: 0 });
    expect(world.clock.pending).toBe(0);
  });

  test("F42 interrupts what does not end within the grace, counts nothing, and shows it again at once", async () => {
    const world = await flowWorld();
    const worker = world.worker(taking(300_000), { shutdownGrace: "25s" });
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    const askedAt = world.clock.now();
    worker.stop();
    expect(await world.during(worker.ended)).toEqual({ reason: "signal", interrupted: 1 });
    expect(world.clock.now() - askedAt).toBeLessThanOrEqual(25_000);
    // Its handler came back at the abort: the resolved pause is a success, so the task ends as one.
    expect(world.record(task.id).state).toBe("succeeded");
  });

  test("F42 settles a handler that honours its signal as interrupted, and another worker runs it", async () => {
    const world = await flowWorld();
    const honest = (ms: number) => (host: FlowHost) => [
      plain.handle(async (_input, { signal }) => {
        await host.pause(ms, signal);
        signal.throwIfAborted();
      }),
    ];
    const worker = world.worker(honest(300_000), { shutdownGrace: "25s" });
    const task = await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    worker.stop();
    expect(await world.during(worker.ended)).toEqual({ reason: "signal", interrupted: 1 });
    expect(await task.get()).toMatchObject({
      state: "queued",
      attempts: 1,
      failures: 0,
      crashes: 0,
      interruptions: 1,
      history: [{ outcome: "interrupted", code: "SHUTDOWN" }],
    });
    world.worker(honest(1_000));
    await world.advance("5s");
    expect(world.record(task.id)).toMatchObject({ state: "succeeded", attempts: 2, interruptions: 1 });
    await world.close();
  });

  test("F42 does not wait for a handler that ignores its signal, nor for a ledger that is away", async () => {
    const world = await flowWorld();
    const worker = world.worker([plain.handle(() => new Promise(() => undefined))], { shutdownGrace: "10s" });
    await world.client.enqueue(plain, { n: 1 });
    await world.advance("1s");
    world.faults = ({ verb }) => (verb === "settleMany" ? "refused" : undefined);
    const askedAt = world.clock.now();
    worker.stop();
    await world.during(worker.ended, "1m");
    expect(world.clock.now() - askedAt).toBeLessThanOrEqual(10_100);
  });

  test("F42 before it has begun, or while nothing runs, resolves at once", async () => {
    const world = await flowWorld();
    const idle = world.worker(taking(10));
    await world.advance("1m");
    idle.stop();
    expect(await world.during(idle.ended, "1s")).toEqual({ reason: "signal", interrupted: 0 });
    const none = world.worker(taking(10));
    none.stop();
    expect(await world.during(none.ended, "1s")).toEqual({ reason: "signal", interrupted: 0 });
  });

  test("tells when it starts and stops, once each", async () => {
    const world = await flowWorld();
    const worker = world.worker(taking(10), { concurrency: 3 });
    await world.advance("1s");
    worker.stop();
    await world.during(worker.ended);
    expect(world.of("worker-started")).toMatchObject([{ lanes: ["normal"], concurrency: 3 }]);
    expect(world.of("worker-stopped")).toMatchObject([{ reason: "signal", interrupted: 0 }]);
  });
});

describe("an app's own code around a worker", () => {
  test("F12 loses no task by what it throws: in onEvent, in log", async () => {
    const world = await flowWorld();
    world.worker(taking(10), {
      onEvent: () => {
        throw new Error("metrics are down");
      },
    });
    const worker = world.worker(taking(10), {
      log: () => {
        throw new Error("the disk is full");
      },
    });
    const ids = await fill(world, "normal", 30);
    await world.until(() => ids.every((id) => world.record(id).state === "succeeded"), "5m");
    for (const id of ids) expect(world.record(id)).toMatchObject({ attempts: 1, crashes: 0 });
    expect(worker.end()).toBeUndefined();
    await world.close();
  });
});
