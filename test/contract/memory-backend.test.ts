import { describe, expect, test } from "vitest";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import type { MemoryBackend, MemoryBackendOptions } from "../../lib/memory/memory-backend.ts";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import type { Fault, MemoryVerb } from "../../lib/memory/memory-faults.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { QueueAddress, ReceivedMessage } from "../../lib/ports/queue.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import { shardOf } from "../../lib/task/record-codec.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import { moveClock } from "../support/contract-stack.ts";

const DAY_MS = 86_400_000;
const LANE: QueueAddress = { lane: "normal" };

function open(options: Omit<MemoryBackendOptions, "clock"> = {}): MemoryBackend & { clock: ManualClock } {
  const clock = new ManualClock();
  return { ...createMemoryBackend({ clock, ...options }), clock };
}

function recordOf(id: string, fields: Partial<TaskRecord> = {}): TaskRecord {
  return {
    id,
    task: "send-receipt",
    lane: "normal",
    state: "queued",
    epoch: 1,
    fence: 1,
    owner: "owner",
    createdAt: 1_000,
    dueAt: 1_000,
    notBefore: 1_000,
    attempts: 0,
    failures: 0,
    crashes: 0,
    snoozes: 0,
    interruptions: 0,
    resends: 0,
    retentionMs: DAY_MS,
    input: { at: "record", json: "1" },
    inputHash: "hash",
    ...fields,
  };
}

describe("the memory backend", () => {
  test("has a topology that reads as any other does", () => {
    const { topology } = open({ spec: { queue: "mail.out", lanes: ["high", "normal"], maxBacklog: 50 } });
    expect(parseTopology(JSON.stringify(topology), "the test")).toEqual(topology);
    expect(Object.keys(topology.lanes)).toEqual(["high", "normal"]);
    expect(topology.lanes.high).toEqual({
      url: "memory://sqs/mail_out-high",
      dlq: "memory://sqs/mail_out-high-dlq",
      maxBacklog: 50,
    });
  });

  test("ends every wait when it is closed", async () => {
    const { queue, close, clock } = open();
    const pending = queue.receive(LANE, { max: 1, waitMs: 20_000, visibilityMs: 1_000 });
    await moveClock(clock, 1_000);
    expect(clock.pending).toBe(1);
    close();
    expect(await pending).toEqual([]);
    expect(await queue.receive(LANE, { max: 1, waitMs: 20_000, visibilityMs: 1_000 })).toEqual([]);
    expect(clock.pending).toBe(0);
  });
});

describe("the memory queue", () => {
  const receive = (queue: MemoryBackend["queue"], visibilityMs = 60_000): Promise<ReceivedMessage[]> =>
    queue.receive(LANE, { max: 10, waitMs: 0, visibilityMs });

  test("refuses what SQS refuses of a receive", async () => {
    const { queue } = open();
    const wanted = { max: 1, waitMs: 0, visibilityMs: 0 };
    for (const wrong of [
      { max: 0 },
      { max: 11 },
      { waitMs: 20_001 },
      { waitMs: -1 },
      { visibilityMs: 12 * 3_600_000 + 1 },
    ])
      await expect(queue.receive(LANE, { ...wanted, ...wrong })).rejects.toMatchObject({ code: "OPTION_INVALID" });
  });

  test("refuses a delay of more than 900 s, an empty body and lone surrogates", async () => {
    const { queue } = open();
    const outcomes = await queue.send(LANE, [
      { body: "x", delayMs: 901_000 },
      { body: "" },
      { body: "a\ud800b" },
      { body: "ok" },
    ]);
    expect(outcomes.map(({ ok }) => ok)).toEqual([false, false, false, true]);
  });

  test("hides nothing by a stale receipt, or by one whose message is visible or gone", async () => {
    const { queue, clock } = open();
    await queue.send(LANE, [{ body: "x" }]);
    const [first] = await receive(queue, 1_000);
    clock.advance(1_000);
    const hide = async (message: ReceivedMessage | undefined): Promise<boolean | undefined> =>
      (await queue.hide(LANE, [{ receipt: message?.receipt ?? "", visibilityMs: 1_000 }]))[0]?.ok;
    expect(await hide(first)).toBe(false);
    const [second] = await receive(queue);
    expect(await hide(first)).toBe(false);
    expect(await hide(second)).toBe(true);
    await queue.acknowledge(LANE, [second?.receipt ?? ""]);
    expect(await hide(second)).toBe(false);
  });

  test("sets a timer only while somebody waits, and for the next message only", async () => {
    const { queue, clock } = open();
    await queue.send(LANE, [{ body: "later", delayMs: 10_000 }]);
    expect(clock.pending).toBe(0);
    const pending = queue.receive(LANE, { max: 1, waitMs: 20_000, visibilityMs: 1_000 });
    await moveClock(clock, 0);
    expect(clock.pending).toBe(2);
    clock.advance(10_000);
    expect((await pending).map(({ body }) => body)).toEqual(["later"]);
    expect(clock.pending).toBe(0);
  });

  test("tells when the next message of any lane shows, those of dead letter queues left out", async () => {
    const { queue, clock } = open();
    const start = clock.now();
    expect(queue.nextVisibleAt()).toBeUndefined();
    await queue.send({ lane: "low", dead: true }, [{ body: "dead" }]);
    expect(queue.nextVisibleAt()).toBeUndefined();
    await queue.send({ lane: "low" }, [{ body: "low", delayMs: 30_000 }]);
    await queue.send(LANE, [{ body: "normal", delayMs: 20_000 }]);
    expect(queue.nextVisibleAt()).toBe(start + 20_000);
    clock.advance(20_000);
    const [message] = await receive(queue, 5_000);
    expect(queue.nextVisibleAt()).toBe(start + 25_000);
    await queue.hide(LANE, [{ receipt: message?.receipt ?? "", visibilityMs: 60_000 }]);
    expect(queue.nextVisibleAt()).toBe(start + 30_000);
    clock.advance(40_000);
    expect(queue.nextVisibleAt()).toBe(start + 30_000);
    await queue.acknowledge(LANE, [message?.receipt ?? ""]);
    clock.advance(4 * DAY_MS);
    expect(queue.nextVisibleAt()).toBeUndefined();
  });

  test("F01 F02 delivers some messages twice, as copies that are acknowledged apart", async () => {
    const { queue, clock } = open({ duplicateRate: 0.3, random: seededRandom(5) });
    const bodies = Array.from({ length: 200 }, (_, place) => `message ${place}`);
    await queue.send(
      LANE,
      bodies.map((body) => ({ body })),
    );
    const received: ReceivedMessage[] = [];
    for (let round = await receive(queue); round.length > 0; round = await receive(queue)) {
      received.push(...round);
      await queue.acknowledge(
        LANE,
        round.map(({ receipt }) => receipt),
      );
    }
    expect(new Set(received.map(({ body }) => body))).toEqual(new Set(bodies));
    const duplicates = received.length - bodies.length;
    expect(duplicates).toBeGreaterThan(30);
    expect(duplicates).toBeLessThan(90);
    expect(new Set(received.map(({ id }) => id)).size).toBe(200);
    expect(new Set(received.map(({ receipt }) => receipt)).size).toBe(received.length);
    clock.advance(60_000);
    expect(await receive(queue)).toEqual([]);
  });

  test("the same seed gives the same deliveries", async () => {
    const run = async (): Promise<string[]> => {
      const { queue } = open({ duplicateRate: 0.5, random: seededRandom(9) });
      await queue.send(
        LANE,
        Array.from({ length: 20 }, (_, place) => ({ body: String(place) })),
      );
      return [...(await receive(queue)), ...(await receive(queue)), ...(await receive(queue))].map(
        ({ id, body }) => id + body,
      );
    };
    expect(await run()).toEqual(await run());
  });
});

describe("the memory ledger", () => {
  test("F29 keeps an item for a while after its time, then forgets it", async () => {
    const { ledger, clock } = open({ ttlLagMs: 3_600_000 });
    const expiresAt = clock.now() + 10_000;
    const record = recordOf("task-0000000000000001", { state: "dead", finishedAt: 1_000, expiresAt });
    await ledger.recordMany([record], clock.now());
    clock.advanceTo(expiresAt + 3_599_999);
    expect(await ledger.readMany([record.id])).toEqual([record]);
    clock.advance(1);
    expect(await ledger.readMany([record.id])).toEqual([undefined]);
    const shard = Number(shardOf(record.id, 4));
    expect(await ledger.query({ index: "dead", shard, from: 0, until: 9_999, limit: 10 })).toEqual({ entries: [] });
  });

  test("shows a write in its indexes late, and what was written before until then", async () => {
    const { ledger, clock } = open({ indexLagMs: 500 });
    const id = "task-0000000000000001";
    const owed = async (): Promise<number[]> => {
      const query = { index: "owed", shard: Number(shardOf(id, 4)), from: 0, until: clock.now(), limit: 10 } as const;
      return (await ledger.query(query)).entries.map(({ at }) => at);
    };
    await ledger.recordMany([recordOf(id, { owedAt: 2_000 })], clock.now());
    expect(await owed()).toEqual([]);
    clock.advance(500);
    expect(await owed()).toEqual([2_000]);
    const seen = { state: "queued", fence: 1, epoch: 1 } as const;
    await ledger.changeMany([{ id, seen, patch: { set: { owedAt: 3_000 } } }]);
    clock.advance(499);
    expect(await owed()).toEqual([2_000]);
    await ledger.changeMany([{ id, seen, patch: { set: {}, remove: ["owedAt"] } }]);
    clock.advance(1);
    expect(await owed()).toEqual([3_000]);
    clock.advance(499);
    expect(await owed()).toEqual([]);
  });

  test("shows its items, and gives none of them away", async () => {
    const { ledger, clock } = open();
    const record = recordOf("task-0000000000000001");
    await ledger.recordMany([record], clock.now());
    const item = ledger.recordItem(record.id);
    expect(item).toMatchObject({ pk: `t#${record.id}`, sk: "-", st: "queued" });
    if (item !== undefined) item["st"] = "dead";
    const [first] = await ledger.readMany([record.id]);
    if (first !== undefined) first.state = "dead";
    expect(await ledger.readMany([record.id])).toEqual([record]);
    expect(ledger.recordItem("another")).toBeUndefined();
  });
});

describe("the memory payloads", () => {
  test("F24 are deleted at the midnight after their life class", async () => {
    const { payloads, clock } = open();
    clock.advance(3_600_000);
    const start = clock.now();
    await payloads.put("d30/task/hash", new Uint8Array(1));
    await payloads.put("d100/task/hash", new Uint8Array(1));
    await payloads.put("elsewhere", new Uint8Array(1));
    clock.advanceTo(start - 3_600_000 + 31 * DAY_MS - 1);
    expect(payloads.keys()).toEqual(["d100/task/hash", "d30/task/hash", "elsewhere"]);
    clock.advance(1);
    expect(payloads.keys()).toEqual(["d100/task/hash", "elsewhere"]);
    expect(await payloads.get("d30/task/hash")).toBeUndefined();
  });

  test("live on from when they were renewed, but not from when they were stored again", async () => {
    const { payloads, clock } = open();
    for (const key of ["d30/task/again", "d30/task/renewed"]) await payloads.put(key, new Uint8Array(1));
    clock.advance(20 * DAY_MS);
    await payloads.put("d30/task/again", new Uint8Array(1));
    await payloads.put("d30/task/renewed", new Uint8Array(1), { renew: true });
    clock.advance(15 * DAY_MS);
    expect(payloads.keys()).toEqual(["d30/task/renewed"]);
  });

  test("F25 F26 can be tampered with", async () => {
    const { payloads } = open();
    await payloads.put("d30/task/hash", Uint8Array.of(1));
    payloads.overwrite("d30/task/hash", Uint8Array.of(2));
    expect(await payloads.get("d30/task/hash")).toEqual(Uint8Array.of(2));
    payloads.remove("d30/task/hash");
    expect(await payloads.get("d30/task/hash")).toBeUndefined();
  });
});

describe("faults in memory", () => {
  const id = "task-0000000000000001";
  const record = recordOf(id);
  const claim = { id, owner: "claim", messageId: "message", now: 1_000, leaseUntil: 9_000 };

  /** A backend whose next call of a verb is struck, once. */
  function struck(verb: MemoryVerb, fault: Fault): MemoryBackend & { strike(): void } {
    let left = 0;
    const backend = open({ faults: (call) => (call.verb === verb && left-- > 0 ? fault : undefined) });
    return { ...backend, strike: () => void (left = 1) };
  }

  test("F20 a write that is refused is not done, and one that is unanswered is", async () => {
    const outcomes = { refused: "failed", unanswered: "unknown" } as const;
    for (const [fault, kind] of Object.entries(outcomes)) {
      const { ledger, strike } = struck("recordMany", fault === "refused" ? "refused" : "unanswered");
      strike();
      const [outcome] = await ledger.recordMany([record], 1_000);
      expect(outcome).toMatchObject({ kind, error: { code: "BACKEND_UNAVAILABLE" } });
      const [again] = await ledger.recordMany([record], 1_000);
      expect(again).toEqual(fault === "refused" ? { kind: "created" } : { kind: "exists", record });
    }
  });

  test("F20 an unanswered claim is recognised when it is tried again", async () => {
    const { ledger, strike } = struck("claimMany", "unanswered");
    await ledger.recordMany([record], 1_000);
    strike();
    expect(await ledger.claimMany([claim])).toMatchObject([{ kind: "failed", error: { code: "BACKEND_UNAVAILABLE" } }]);
    expect(await ledger.claimMany([claim])).toMatchObject([
      { kind: "written", record: { owner: "claim", attempts: 1 } },
    ]);
  });

  test("strikes single entries of a batch", async () => {
    const { queue } = open({
      faults: ({ entry }) => (entry === "b" ? "refused" : entry === "c" ? "unanswered" : undefined),
    });
    const outcomes = await queue.send(
      LANE,
      ["a", "b", "c", "d"].map((body) => ({ body })),
    );
    expect(outcomes.map(({ ok }) => ok)).toEqual([true, false, false, true]);
    const messages = await queue.receive(LANE, { max: 10, waitMs: 0, visibilityMs: 1_000 });
    expect(messages.map(({ body }) => body)).toEqual(["a", "c", "d"]);
  });

  test("an unanswered receive takes the messages along", async () => {
    const { queue, strike } = struck("receive", "unanswered");
    await queue.send(LANE, [{ body: "x" }]);
    strike();
    const options = { max: 10, waitMs: 0, visibilityMs: 1_000 };
    await expect(queue.receive(LANE, options)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    expect(await queue.receive(LANE, options)).toEqual([]);
    expect(await queue.depth(LANE)).toEqual({ visible: 0, delayed: 0, inFlight: 1 });
  });

  test("an error of the test's own is told as it is, and a promise holds the call back", async () => {
    const denied = new TasklaneError("PERMISSION_DENIED", { what: "no" });
    const { payloads, strike } = struck("get", denied);
    strike();
    await expect(payloads.get("x")).rejects.toBe(denied);

    let release: (fault: Fault | undefined) => void = () => undefined;
    const held = open({
      faults: ({ verb }) => (verb === "put" ? new Promise((resolve) => (release = resolve)) : undefined),
    });
    const pending = held.payloads.put("x", Uint8Array.of(1));
    expect(await held.payloads.get("x")).toBeUndefined();
    release(undefined);
    await pending;
    expect(await held.payloads.get("x")).toEqual(Uint8Array.of(1));
  });
});
