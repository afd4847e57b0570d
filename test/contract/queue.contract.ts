import { afterEach, beforeEach, describe, expect, test } from "vitest";
import type { Queue, QueueAddress, ReceivedMessage } from "../../lib/ports/queue.ts";
import { decodeBody, encodeEnvelope } from "../../lib/task/envelope.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import {
  DLQ_RETENTION_MS,
  QUEUE_RETENTION_MS,
  RECEIVE_LIMIT,
  SQS_DELAY_MAX_MS,
  SQS_MESSAGE_MAX_BYTES,
  SQS_VISIBILITY_MAX_MS,
} from "../../lib/task/limits.ts";
import type { ContractBackend } from "../support/contract-backends.ts";
import { testWhere } from "../support/contract-backends.ts";
import type { ContractStack } from "../support/contract-stack.ts";
import { eventually } from "../support/contract-stack.ts";

const LANE: QueueAddress = { lane: "normal" };
const DEAD: QueueAddress = { lane: "normal", dead: true };
const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
/** Far beyond any test: what is received stays out of sight. */
const LONG_MS = 10 * MINUTE_MS;

/** What every queue adapter must do. */
export function describeQueueContract({ name, gaps, clock, open }: ContractBackend): void {
  describe(`the queue contract on ${name}`, () => {
    let stack: ContractStack;
    let queue: Queue;

    beforeEach(async () => {
      stack = await open({ lanes: ["normal", "low"] });
      queue = stack.backend.queue;
    });
    afterEach(() => stack.close());

    /** Receives until so many messages came, or nothing more can be expected. */
    async function collect(
      count: number,
      options: { from?: QueueAddress; visibilityMs?: number; withinMs?: number } = {},
    ): Promise<ReceivedMessage[]> {
      const { from = LANE, visibilityMs = LONG_MS, withinMs = 8_000 } = options;
      const received: ReceivedMessage[] = [];
      await eventually(
        stack,
        async () => received.push(...(await queue.receive(from, { max: 10, waitMs: 0, visibilityMs }))),
        (total) => total >= count,
        { withinMs },
      );
      return received;
    }

    async function collectOne(options?: Parameters<typeof collect>[1]): Promise<ReceivedMessage> {
      const [message] = await collect(1, options);
      if (message === undefined) throw new Error("no message came");
      return message;
    }

    /** Looks for so long, and expects that nothing comes. */
    async function expectNone(forMs: number, from: QueueAddress = LANE): Promise<void> {
      expect(await collect(1, { from, withinMs: forMs })).toEqual([]);
    }

    async function sendAll(bodies: readonly string[], delayMs?: number, to = LANE): Promise<void> {
      const outcomes = await queue.send(
        to,
        bodies.map((body) => ({ body, delayMs })),
      );
      expect(outcomes).toEqual(bodies.map(() => ({ ok: true })));
    }

    const bodiesOf = (messages: readonly ReceivedMessage[]): string[] => messages.map(({ body }) => body).sort();
    const numbered = (count: number): string[] => Array.from({ length: count }, (_, place) => `message ${100 + place}`);

    describe("send", () => {
      test("delivers what was sent, with its count and its time", async () => {
        const before = stack.now();
        await sendAll(['{"hello":"world"}']);
        const message = await collectOne();
        expect(message).toMatchObject({ body: '{"hello":"world"}', receiveCount: 1 });
        expect(message.id).toMatch(/./);
        expect(message.receipt).toMatch(/./);
        expect(Math.abs(message.sentAt - before)).toBeLessThan(5_000);
      });

      test("takes no entries", async () => {
        expect(await queue.send(LANE, [])).toEqual([]);
        expect(await queue.acknowledge(LANE, [])).toEqual([]);
        expect(await queue.hide(LANE, [])).toEqual([]);
      });

      test("F23 splits more than ten entries", async () => {
        const bodies = numbered(37);
        await sendAll(bodies);
        const messages = await collect(bodies.length);
        expect(bodiesOf(messages)).toEqual(bodies);
        expect(new Set(messages.map(({ id }) => id)).size).toBe(bodies.length);
      });

      test("F23 splits entries whose sum is more than 1 MiB", async () => {
        const bodies = numbered(12).map((body) => body.padEnd(200_000, "."));
        await sendAll(bodies);
        expect(bodiesOf(await collect(bodies.length))).toEqual(bodies);
      });

      test("F37 takes a message of 1 MiB, and refuses one of a byte more without its neighbours", async () => {
        const sizes = [10, SQS_MESSAGE_MAX_BYTES + 1, SQS_MESSAGE_MAX_BYTES, 20];
        const outcomes = await queue.send(
          LANE,
          sizes.map((size) => ({ body: "x".repeat(size) })),
        );
        expect(outcomes.map(({ ok }) => ok)).toEqual([true, false, true, true]);
        const error = outcomes[1]?.ok === false ? outcomes[1].error : undefined;
        expect(TasklaneError.is(error)).toBe(true);
        expect((await collect(3)).map(({ body }) => body.length).sort((a, b) => a - b)).toEqual([
          10,
          20,
          SQS_MESSAGE_MAX_BYTES,
        ]);
        await expectNone(300);
      });

      test("F38 carries every character in an envelope", async () => {
        const texts = Array.from({ length: 16 }, (_, block) =>
          String.fromCharCode(...Array.from({ length: 4_096 }, (_unit, unit) => block * 4_096 + unit)),
        );
        const bodies = texts.map((text, place) =>
          encodeEnvelope({
            kind: "task",
            queue: "tasklane",
            id: `0123456789abcdef-${place}`,
            task: "send-receipt",
            epoch: 1,
            dueAt: 0,
            payload: { codec: "json", text },
            deferrals: 0,
            passedOver: false,
          }),
        );
        await sendAll(bodies);
        const messages = await collect(bodies.length);
        const found = messages
          .map(({ body }) => decodeBody(body))
          .map((read) => (read.kind === "task" ? (read.payload?.text ?? "") : read.kind));
        expect(found.sort()).toEqual(texts.sort());
      });

      testWhere(!gaps.refusesNeighbours)(
        "F38 refuses what XML 1.0 does not allow, without its neighbours",
        async () => {
          const bodies = ["before", "a\u0000b", "a\uffffb", "a\u001fb", "after \t\n\r é €"];
          const outcomes = await queue.send(
            LANE,
            bodies.map((body) => ({ body })),
          );
          expect(outcomes.map(({ ok }) => ok)).toEqual([true, false, false, false, true]);
          expect(bodiesOf(await collect(2))).toEqual(["after \t\n\r é €", "before"]);
        },
      );

      test("keeps lanes and dead letter queues apart", async () => {
        await sendAll(["to low"], 0, { lane: "low" });
        await sendAll(["to the dead of normal"], 0, DEAD);
        await sendAll(["to normal"]);
        expect((await collectOne()).body).toBe("to normal");
        expect((await collectOne({ from: DEAD })).body).toBe("to the dead of normal");
        expect((await collectOne({ from: { lane: "low" } })).body).toBe("to low");
        await expectNone(200, { lane: "low", dead: true });
      });

      test("sends the messages of a lane that is not deployed to normal", async () => {
        await sendAll(["urgent"], 0, { lane: "critical" });
        expect((await collectOne()).body).toBe("urgent");
      });
    });

    describe("a delay", () => {
      test("keeps a message out of sight for its time", async () => {
        const before = stack.now();
        await sendAll(["later"], 2_000);
        await sendAll(["now"]);
        expect((await collectOne()).body).toBe("now");
        const later = await collectOne();
        expect(later).toMatchObject({ body: "later", receiveCount: 1 });
        expect(stack.now() - before).toBeGreaterThanOrEqual(stack.clock === "manual" ? 2_000 : 1_000);
        expect(stack.now() - before).toBeLessThan(8_000);
      });

      test("is rounded down to whole seconds", async () => {
        await sendAll(["at once"], 999);
        expect((await collectOne({ withinMs: 900 })).body).toBe("at once");
      });

      test("is at most 900 s", async () => {
        await sendAll(["longest"], SQS_DELAY_MAX_MS);
        await expectNone(200);
        if (gaps.acceptsLongDelay) return;
        const outcomes = await queue.send(LANE, [
          { body: "too long", delayMs: SQS_DELAY_MAX_MS + 1_000 },
          { body: "fine" },
        ]);
        expect(outcomes.map(({ ok }) => ok)).toEqual([false, true]);
      });
    });

    describe("receive", () => {
      test("gives at most as many as asked for", async () => {
        await sendAll(numbered(8));
        const messages = await queue.receive(LANE, { max: 3, waitMs: 0, visibilityMs: LONG_MS });
        expect(messages.length).toBeLessThanOrEqual(3);
        expect(bodiesOf([...messages, ...(await collect(8 - messages.length))])).toEqual(numbered(8));
      });

      test("answers at once with nothing if it is not to wait", async () => {
        expect(await queue.receive(LANE, { max: 10, waitMs: 0, visibilityMs: LONG_MS })).toEqual([]);
      });

      test("F01 gives a message again after its time out of sight, with a new receipt and a higher count", async () => {
        await sendAll(["again"]);
        const first = await collectOne({ visibilityMs: 2_000 });
        const receivedAt = stack.now();
        await expectNone(300);
        const second = await collectOne();
        expect(stack.now() - receivedAt).toBeGreaterThanOrEqual(stack.clock === "manual" ? 2_000 : 1_500);
        expect(second).toMatchObject({ id: first.id, body: "again", sentAt: first.sentAt, receiveCount: 2 });
        expect(second.receipt).not.toBe(first.receipt);
      });

      test("gives each message to one of many at once", async () => {
        await sendAll(numbered(40));
        const options = { max: 5, waitMs: 0, visibilityMs: LONG_MS };
        const rounds = await Promise.all(Array.from({ length: 12 }, () => queue.receive(LANE, options)));
        const early = rounds.flat();
        const messages = [...early, ...(await collect(40 - early.length))];
        expect(bodiesOf(messages)).toEqual(numbered(40));
      });

      test("waits for a message that is sent meanwhile", async () => {
        const pending = queue.receive(LANE, { max: 10, waitMs: 15_000, visibilityMs: LONG_MS });
        await stack.advance(300);
        const sentAt = stack.now();
        await sendAll(["arrives"]);
        expect(bodiesOf(await pending)).toEqual(["arrives"]);
        expect(stack.now() - sentAt).toBeLessThan(5_000);
      });

      test("waits for a message whose delay or time out of sight ends meanwhile", async () => {
        await sendAll(["hidden"]);
        await collectOne({ visibilityMs: 1_000 });
        const pending = queue.receive(LANE, { max: 10, waitMs: 15_000, visibilityMs: LONG_MS });
        await stack.advance(stack.clock === "manual" ? 1_000 : 0);
        expect(bodiesOf(await pending)).toEqual(["hidden"]);
        await sendAll(["delayed"], 1_000);
        const delayed = queue.receive(LANE, { max: 10, waitMs: 15_000, visibilityMs: LONG_MS });
        await stack.advance(stack.clock === "manual" ? 1_000 : 0);
        expect(bodiesOf(await delayed)).toEqual(["delayed"]);
      });

      test("waits no longer than asked for", async () => {
        const before = stack.now();
        const pending = queue.receive(LANE, { max: 10, waitMs: 1_000, visibilityMs: LONG_MS });
        await stack.advance(stack.clock === "manual" ? 1_000 : 0);
        expect(await pending).toEqual([]);
        expect(stack.now() - before).toBeGreaterThanOrEqual(900);
        expect(stack.now() - before).toBeLessThan(5_000);
      });

      test("serves several who wait", async () => {
        const options = { max: 1, waitMs: 15_000, visibilityMs: LONG_MS };
        const pending = [queue.receive(LANE, options), queue.receive(LANE, options), queue.receive(LANE, options)];
        await stack.advance(200);
        await sendAll(numbered(3));
        expect(bodiesOf((await Promise.all(pending)).flat())).toEqual(numbered(3));
      });

      test("F42 stops waiting when its signal aborts, and loses nothing", async () => {
        const controller = new AbortController();
        const before = stack.now();
        const options = { max: 10, waitMs: 15_000, visibilityMs: 2_000, signal: controller.signal };
        const pending = queue.receive(LANE, options);
        await stack.advance(200);
        controller.abort();
        expect(await pending).toEqual([]);
        expect(stack.now() - before).toBeLessThan(5_000);
        await sendAll(["after the abort"]);
        expect(await queue.receive(LANE, options)).toEqual([]);
        expect((await collectOne()).body).toBe("after the abort");
      });
    });

    describe("acknowledge", () => {
      test("removes messages for good", async () => {
        await sendAll(numbered(25));
        const messages = await collect(25, { visibilityMs: 3_000 });
        const outcomes = await queue.acknowledge(
          LANE,
          messages.map(({ receipt }) => receipt),
        );
        expect(outcomes).toEqual(messages.map(() => ({ ok: true })));
        await stack.advance(3_000);
        await expectNone(500);
        expect(await queue.depth(LANE)).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
      });

      test("is no error the second time", async () => {
        await sendAll(["once"]);
        const { receipt } = await collectOne();
        expect(await queue.acknowledge(LANE, [receipt])).toEqual([{ ok: true }]);
        expect(await queue.acknowledge(LANE, [receipt])).toEqual([{ ok: true }]);
      });

      test("works after the time out of sight, while nobody else has received the message", async () => {
        await sendAll(["late"]);
        const { receipt } = await collectOne({ visibilityMs: 1_000 });
        await stack.advance(1_100);
        expect(await queue.acknowledge(LANE, [receipt])).toEqual([{ ok: true }]);
        await expectNone(500);
      });

      test(`F04 is no error with a stale receipt, and ${gaps.staleDelete} the message`, async () => {
        await sendAll(["contested"]);
        const zombie = await collectOne({ visibilityMs: 1_000 });
        await stack.advance(1_000);
        const owner = await collectOne({ visibilityMs: 2_000 });
        expect(await queue.acknowledge(LANE, [zombie.receipt])).toEqual([{ ok: true }]);
        if (gaps.staleDelete === "removes") {
          await stack.advance(2_000);
          return expectNone(500);
        }
        expect((await collectOne()).receiveCount).toBe(owner.receiveCount + 1);
      });
    });

    describe("hide", () => {
      test("restarts the time out of sight from now", async () => {
        await sendAll(["long"]);
        const { receipt } = await collectOne({ visibilityMs: 2_000 });
        await stack.advance(500);
        const hiddenAt = stack.now();
        expect(await queue.hide(LANE, [{ receipt, visibilityMs: 3_000 }])).toEqual([{ ok: true }]);
        await expectNone(2_000);
        expect((await collectOne()).receiveCount).toBe(2);
        expect(stack.now() - hiddenAt).toBeGreaterThanOrEqual(stack.clock === "manual" ? 3_000 : 2_500);
      });

      test("shows a message at once if the time is 0", async () => {
        await sendAll(["back"]);
        const { receipt } = await collectOne();
        expect(await queue.hide(LANE, [{ receipt, visibilityMs: 0 }])).toEqual([{ ok: true }]);
        expect((await collectOne({ withinMs: 1_000 })).receiveCount).toBe(2);
      });

      test("wakes who waits when a message is shown", async () => {
        await sendAll(["back"]);
        const { receipt } = await collectOne();
        const pending = queue.receive(LANE, { max: 10, waitMs: 15_000, visibilityMs: LONG_MS });
        await stack.advance(200);
        await queue.hide(LANE, [{ receipt, visibilityMs: 0 }]);
        expect(bodiesOf(await pending)).toEqual(["back"]);
      });

      test("takes any number of entries, and answers in their order", async () => {
        await sendAll(numbered(25));
        const messages = await collect(25);
        const entries = messages.map(({ receipt }, place) => ({
          receipt,
          visibilityMs: place === 13 ? SQS_VISIBILITY_MAX_MS + HOUR_MS : place % 2 === 0 ? 0 : LONG_MS,
        }));
        const outcomes = await queue.hide(LANE, entries);
        expect(outcomes.map(({ ok }) => ok)).toEqual(
          messages.map((_, place) => gaps.acceptsLongVisibility || place !== 13),
        );
        const shown = messages.filter((_, place) => place % 2 === 0);
        expect(bodiesOf(await collect(13))).toEqual(bodiesOf(shown));
        await expectNone(300);
      });

      testWhere(!gaps.acceptsLongVisibility)("F05 refuses more than 12 hours", async () => {
        await sendAll(["endless"]);
        const { receipt } = await collectOne();
        const [outcome] = await queue.hide(LANE, [{ receipt, visibilityMs: SQS_VISIBILITY_MAX_MS + 1_000 }]);
        expect(outcome).toMatchObject({ ok: false });
      });

      testWhere(clock === "manual")("F05 refuses to reach beyond 12 hours since the receive", async () => {
        await sendAll(["endless"]);
        const { receipt } = await collectOne({ visibilityMs: HOUR_MS });
        for (let hour = 0; hour < 11; hour++) {
          await stack.advance(HOUR_MS - MINUTE_MS);
          expect(await queue.hide(LANE, [{ receipt, visibilityMs: HOUR_MS }])).toEqual([{ ok: true }]);
        }
        const [outcome] = await queue.hide(LANE, [{ receipt, visibilityMs: 2 * HOUR_MS }]);
        expect(outcome).toMatchObject({ ok: false });
        // The refused request leaves the message as it was.
        await stack.advance(HOUR_MS - MINUTE_MS);
        await expectNone(1_000);
        expect((await collectOne({ withinMs: 2 * MINUTE_MS })).receiveCount).toBe(2);
      });
    });

    describe("the receive limit", () => {
      async function receiveUntilDead(): Promise<ReceivedMessage> {
        let last = await collectOne({ visibilityMs: 0 });
        for (let count = 2; count <= RECEIVE_LIMIT; count++) {
          last = await collectOne({ visibilityMs: 0 });
          expect(last.receiveCount).toBe(count);
        }
        return last;
      }

      test("F09 moves a message to the dead letter queue at the receive after the last one, with its age", async () => {
        await sendAll(["pill"]);
        const last = await receiveUntilDead();
        await expectNone(200, DEAD);
        await expectNone(500);
        const dead = await collectOne({ from: DEAD });
        expect(dead).toMatchObject({ body: "pill", sentAt: last.sentAt });
        expect(await queue.acknowledge(DEAD, [dead.receipt])).toEqual([{ ok: true }]);
        expect(await queue.depth(DEAD)).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
      });

      testWhere(clock === "manual")(
        "F33 counts a dead letter's retention from when the message was first sent",
        async () => {
          const sentAt = stack.now();
          await sendAll(["pill"]);
          await stack.advance(QUEUE_RETENTION_MS / 2);
          await receiveUntilDead();
          await expectNone(0);
          await stack.advance(sentAt + DLQ_RETENTION_MS - 1 - stack.now());
          const { receipt } = await collectOne({ from: DEAD, visibilityMs: 1 });
          await stack.advance(1_000);
          expect(await queue.receive(DEAD, { max: 10, waitMs: 0, visibilityMs: 0 })).toEqual([]);
          expect(await queue.hide(DEAD, [{ receipt, visibilityMs: 0 }])).toMatchObject([{ ok: false }]);
        },
      );
    });

    testWhere(clock === "manual")("F36 forgets messages after the retention", async () => {
      await sendAll(["old"]);
      await stack.advance(QUEUE_RETENTION_MS - 1_000);
      await collectOne({ visibilityMs: 1_000 });
      await stack.advance(1_000);
      await expectNone(1_000);
      expect(await queue.depth(LANE)).toEqual({ visible: 0, delayed: 0, inFlight: 0 });
    });

    testWhere(clock === "manual")("F39 gives nothing more while 120,000 messages are in flight", async () => {
      const limit = 120_000;
      await queue.send(
        LANE,
        Array.from({ length: limit + 5 }, () => ({ body: "x" })),
      );
      const options = { max: 10, waitMs: 0, visibilityMs: HOUR_MS };
      let last: ReceivedMessage[] = [];
      let received = 0;
      do {
        last = await queue.receive(LANE, options);
        received += last.length;
      } while (last.length > 0 && received < limit);
      expect(received).toBe(limit);
      expect(await queue.receive(LANE, options)).toEqual([]);
      const pending = queue.receive(LANE, { ...options, waitMs: 15_000 });
      await queue.acknowledge(
        LANE,
        last.map(({ receipt }) => receipt),
      );
      await stack.advance(5_000);
      expect(await pending).toHaveLength(5);
    });

    test("depth counts what is visible, delayed and in flight", async () => {
      await sendAll(numbered(3));
      const [message] = await queue.receive(LANE, { max: 1, waitMs: 5_000, visibilityMs: LONG_MS });
      expect(message).toBeDefined();
      await sendAll(["delayed", "delayed too"], 600_000);
      const expected = { visible: 2, delayed: 2, inFlight: 1 };
      const isRight = (depth: unknown): boolean => JSON.stringify(depth) === JSON.stringify(expected);
      expect(await eventually(stack, () => queue.depth(LANE), isRight)).toEqual(expected);
    });
  });
}
