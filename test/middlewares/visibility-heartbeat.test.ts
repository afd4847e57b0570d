import middy from "@middy/core";
import type { SQSEvent } from "aws-lambda";
import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import type { VisibilityHeartbeatOptions } from "../../lib/lambda/middlewares/visibility-heartbeat.ts";
import { visibilityHeartbeat } from "../../lib/lambda/middlewares/visibility-heartbeat.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import { jsonReply } from "../support/interfering-proxy.ts";
import type { PlainHost } from "./plain-host.ts";
import { contextOf, invoke, recordWith, startPlainHost } from "./plain-host.ts";

let host: PlainHost;
beforeAll(async () => {
  host = await startPlainHost();
});
afterAll(() => host.close());
afterEach(() => {
  host.sqsProxy.interfere();
  host.sqsProxy.calls.length = 0;
});

const EXTEND = "ChangeMessageVisibilityBatch";

/** What each request asked for, with the time on the clock. */
function watch(clock: ManualClock, answer: "pass" | ((nth: number) => number | undefined) = "pass"): Tick[] {
  const ticks: Tick[] = [];
  host.sqsProxy.interfere(async (call, forward) => {
    if (!call.name.endsWith(EXTEND)) return forward();
    const { Entries } = JSON.parse(call.body.toString()) as {
      Entries: { ReceiptHandle: string; VisibilityTimeout: number }[];
    };
    ticks.push({
      atMs: clock.monotonic(),
      seconds: Entries[0]?.VisibilityTimeout ?? 0,
      receipts: Entries.map(({ ReceiptHandle }) => ReceiptHandle),
    });
    const status = answer === "pass" ? undefined : answer(ticks.length);
    return status === undefined ? forward() : jsonReply(status, { __type: "com.amazonaws.sqs#InternalError" });
  });
  return ticks;
}

interface Tick {
  readonly atMs: number;
  readonly seconds: number;
  readonly receipts: readonly string[];
}

/** Moves the clock from timer to timer, and waits for the request of each tick on the way. */
async function pass(clock: ManualClock, ms: number): Promise<void> {
  const end = clock.now() + ms;
  for (let next = clock.nextTimerAt(); next !== undefined && next <= end; next = clock.nextTimerAt()) {
    clock.advanceTo(next);
    await host.idle();
  }
  clock.advanceTo(end);
  await host.idle();
}

async function run(
  clock: ManualClock,
  event: SQSEvent,
  ms: number,
  options: VisibilityHeartbeatOptions = {},
  remainingMs = 900_000,
): Promise<void> {
  // Without middy's own timeout, which goes by real time.
  const chain = middy(async () => pass(clock, ms), { timeoutEarlyInMillis: 0 }).use(
    visibilityHeartbeat({ sdk: host.sdk, clock, ...options }),
  );
  const { error } = await invoke(chain, event, remainingMs);
  if (error !== undefined) throw error;
}

describe("visibilityHeartbeat", () => {
  test("extends after 5 s, then every third of the visibility, until the handler returns", async () => {
    const queueUrl = await host.createQueue("ticks");
    await host.send(queueUrl, ["one", "two"]);
    const Records = await host.receive(queueUrl);
    const clock = new ManualClock();
    const ticks = watch(clock);
    await run(clock, { Records }, 40_000, { queueUrl });
    expect(ticks.map(({ atMs, seconds }) => [atMs, seconds])).toEqual([
      [5_000, 30],
      [15_000, 30],
      [25_000, 30],
      [35_000, 30],
    ]);
    expect(ticks[0]?.receipts).toEqual(Records.map(({ receiptHandle }) => receiptHandle));
    await pass(clock, 60_000);
    expect(ticks).toHaveLength(4);
    expect(clock.pending).toBe(0);
  });

  test("begins after a third of a short visibility", async () => {
    const clock = new ManualClock();
    const ticks = watch(clock);
    await run(clock, { Records: [recordWith("a")] }, 5_000, {
      visibility: "6s",
      queueUrl: await host.createQueue("short"),
    });
    expect(ticks.map(({ atMs, seconds }) => [atMs, seconds])).toEqual([
      [2_000, 6],
      [4_000, 6],
    ]);
  });

  test("extends a large batch ten messages at a time", async () => {
    const queueUrl = await host.createQueue("large");
    await host.send(
      queueUrl,
      Array.from({ length: 23 }, (_, place) => `m${place}`),
    );
    const Records = [
      ...(await host.receive(queueUrl)),
      ...(await host.receive(queueUrl)),
      ...(await host.receive(queueUrl)),
    ];
    const clock = new ManualClock();
    const ticks = watch(clock);
    await run(clock, { Records }, 6_000, { queueUrl });
    expect(new Set(ticks.map(({ receipts }) => receipts.length))).toEqual(new Set([10, 3]));
    expect(new Set(ticks.flatMap(({ receipts }) => receipts)).size).toBe(23);
  });

  test("hides nothing for longer than a moment past the invocation, and never ticks after it", async () => {
    const queueUrl = await host.createQueue("deadline");
    const clock = new ManualClock();
    const ticks = watch(clock);
    // The handler goes on after the time is over, as code does in an environment that was frozen and woken up.
    await run(clock, { Records: [recordWith("a")] }, 120_000, { queueUrl }, 20_000);
    expect(ticks.map(({ atMs, seconds }) => [atMs, seconds])).toEqual([
      [5_000, 20],
      [15_000, 10],
    ]);
  });

  test.each([0, -1, 5_000])("sets no timer with %i ms left", async (remainingMs) => {
    const clock = new ManualClock();
    let pending = -1;
    const chain = middy(async () => void (pending = clock.pending), { timeoutEarlyInMillis: 0 }).use(
      visibilityHeartbeat({ sdk: host.sdk, clock }),
    );
    await invoke(chain, { Records: [recordWith("a")] }, remainingMs);
    expect(pending).toBe(0);
  });

  test("F43 sends nothing when an environment wakes up after the invocation was over", async () => {
    const ticks = watch(new ManualClock());
    let now = 0;
    let wake = (): void => undefined;
    const frozen: Clock = {
      now: () => now,
      monotonic: () => now,
      timer: (_ms, callback) => {
        wake = callback;
        return { cancel: () => undefined };
      },
    };
    const queueUrl = await host.createQueue("frozen");
    const chain = middy(async () => {
      now = 60_001;
      wake();
      await host.idle();
    }).use(visibilityHeartbeat({ sdk: host.sdk, clock: frozen, queueUrl }));
    await invoke(chain, { Records: [recordWith("a")] }, 60_000);
    expect(ticks).toEqual([]);
  });

  test("F41 repeats a tick that fails, well within the visibility, and fails no message", async () => {
    const queueUrl = await host.createQueue("flaky");
    await host.send(queueUrl, ["one"]);
    const Records = await host.receive(queueUrl);
    const clock = new ManualClock();
    let isDown = true;
    const ticks = watch(clock, () => (isDown ? 400 : undefined));
    const chain = middy(async () => {
      await pass(clock, 9_000);
      isDown = false;
      await pass(clock, 11_000);
    }).use(visibilityHeartbeat({ sdk: host.sdk, clock, queueUrl }));
    expect(await invoke(chain, { Records })).toEqual({ response: { batchItemFailures: [] }, error: undefined });
    const times = ticks.map(({ atMs }) => atMs);
    // Down at 5 s and 7.5 s, up again at 10 s, and from there on by thirds.
    expect(times).toEqual([5_000, 7_500, 10_000, 20_000]);
  });

  test("F41 ends with a handler that throws, and leaves its error alone", async () => {
    const clock = new ManualClock();
    const ticks = watch(clock);
    const queueUrl = await host.createQueue("throws");
    const chain = middy(async () => {
      await pass(clock, 6_000);
      throw new Error("the handler's own");
    }).use(visibilityHeartbeat({ sdk: host.sdk, clock, queueUrl }));
    expect(await invoke(chain, { Records: [recordWith("a")] })).toMatchObject({
      error: { message: "the handler's own" },
    });
    await pass(clock, 60_000);
    expect(ticks).toHaveLength(1);
    expect(clock.pending).toBe(0);
  });

  test("F41 lets nothing escape when no queue answers at all", async () => {
    const escaped: unknown[] = [];
    const listen = (reason: unknown): void => void escaped.push(reason);
    process.on("unhandledRejection", listen);
    const clock = new ManualClock();
    host.sqsProxy.interfere(async () => "hang-up");
    await run(clock, { Records: [recordWith("a")] }, 12_000, { queueUrl: "http://127.0.0.1/000000000000/gone" });
    await host.idle();
    process.off("unhandledRejection", listen);
    expect(escaped).toEqual([]);
    expect(host.sqsProxy.count(EXTEND)).toBeGreaterThan(0);
  });

  test("keeps a message from others for longer than its queue would, in real time", async () => {
    const queueUrl = await host.createQueue("real");
    await host.send(queueUrl, ["one"]);
    const Records = await host.receive(queueUrl, 1, 2);
    const seen: string[] = [];
    const chain = middy(async () => {
      const end = Date.now() + 4_000;
      while (Date.now() < end) seen.push(...(await host.receive(queueUrl, 1)).map(({ body }) => body));
    }).use(visibilityHeartbeat({ sdk: host.sdk, visibility: "3s" }));
    // By the ARN of the record alone: the client's endpoint is the emulator's.
    await chain(
      { Records },
      contextOf(() => 60_000),
    );
    expect(Records).toHaveLength(1);
    expect(seen).toEqual([]);
  });

  test("refuses options that cannot work, and an event that does not name its queue", async () => {
    expect(() => visibilityHeartbeat({ visibility: "1s" })).toThrow(/OPTION_INVALID.*visibility/);
    expect(() => visibilityHeartbeat({ visibility: "13h" })).toThrow(/OPTION_INVALID/);
    expect(() => visibilityHeartbeat({ visibilty: "30s" } as VisibilityHeartbeatOptions)).toThrow(/visibilty/);
    const chain = middy(async () => undefined).use(visibilityHeartbeat({ sdk: host.sdk }));
    const record = recordWith("a", { eventSourceARN: "arn:aws:kinesis:us-east-1:000000000000:stream/a" });
    expect(await invoke(chain, { Records: [record] })).toMatchObject({
      error: { code: "OPTION_INVALID", fix: "pass { queueUrl }" },
    });
  });
});
