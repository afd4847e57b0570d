import { ReceiveMessageCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import middy from "@middy/core";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from "vitest";
import { partialBatchResponse } from "../../lib/lambda/middlewares/partial-batch-response.ts";
import type { RateLimitMiddlewareOptions } from "../../lib/lambda/middlewares/rate-limit.ts";
import { rateLimit } from "../../lib/lambda/middlewares/rate-limit.ts";
import type { RateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { systemClock } from "../../lib/system.ts";
import { worstBreach } from "../support/rate-property.ts";
import type { PlainFunction, PlainHost } from "./plain-host.ts";
import { invoke, recordWith, startPlainHost } from "./plain-host.ts";

const TABLE = "limits";

let host: PlainHost;
let queueUrl: string;
let name: string;
let runs = 0;
let told: [string, string][];

beforeAll(async () => {
  host = await startPlainHost();
  await host.createTable(TABLE, ["pk", "sk"]);
});
afterAll(() => host.close());
beforeEach(async () => {
  name = `limited-${runs++}`;
  queueUrl = await host.createQueue(name);
  told = [];
});
afterEach(() => {
  host.sqsProxy.interfere();
  host.dynamodbProxy.interfere();
  host.sqsProxy.calls.length = 0;
});

/** A function with the middleware that remembers when it was given which message. */
function limited(
  limit: RateLimit,
  more: Partial<RateLimitMiddlewareOptions> = {},
): { handler: PlainFunction; starts: { at: number; body: string }[] } {
  const starts: { at: number; body: string }[] = [];
  const onFailure = (record: { messageId: string }, reason: unknown): void =>
    void told.push([record.messageId, String(Reflect.get(reason as object, "code"))]);
  const handler = middy(async (event: SQSEvent) => {
    for (const { body } of event.Records) starts.push({ at: Date.now(), body });
  }).use([
    rateLimit({ limit, table: TABLE, queueUrl, sdk: host.sdk, onFailure, ...more }),
    partialBatchResponse({ onFailure }),
  ]);
  return { handler, starts };
}

interface SentEntry {
  readonly MessageBody: string;
  readonly DelaySeconds: number;
  readonly MessageAttributes: Record<string, { DataType: string; StringValue?: string; BinaryValue?: string }>;
}

/** What was sent since the last reset. */
function sent(): SentEntry[] {
  return host.sqsProxy.calls
    .filter((call) => call.name.endsWith("SendMessageBatch"))
    .flatMap(({ body }) => (JSON.parse(body.toString()) as { Entries: SentEntry[] }).Entries);
}

async function deliverAll(bodies: readonly string[], handler: PlainFunction): Promise<void> {
  await host.send(queueUrl, bodies);
  host.sqsProxy.calls.length = 0;
  await host.deliver(queueUrl, handler);
}

const slow = (burst: number, more: Partial<Parameters<typeof defineRateLimit>[0]> = {}): RateLimit =>
  defineRateLimit({ name, limit: 6, per: "1m", burst, ...more });

describe("rateLimit", () => {
  test("hands over what the burst allows, and sends the rest back with their slots", async () => {
    // An idle bucket gives all of its burst but the last slot, which leaves the others time to start.
    const { handler, starts } = limited(slow(4));
    await deliverAll(["a", "b", "c", "d", "e"], handler);
    expect(starts.map(({ body }) => body)).toEqual(["a", "b", "c"]);
    const [first, second, ...none] = sent();
    expect(none).toEqual([]);
    // Ten seconds apart; a copy comes one to two seconds before its slot.
    expect([8, 9]).toContain(first?.DelaySeconds);
    expect([18, 19]).toContain(second?.DelaySeconds);
    expect(first?.MessageAttributes["tasklane-slot"]?.StringValue).toMatch(new RegExp(`^\\d{16}@${name}$`));
    expect(told).toEqual([]);
    expect(await host.counts(queueUrl)).toEqual({ visible: 0, delayed: 2, inFlight: 0 });
  });

  test("keeps body, attributes and group of what it sends back", async () => {
    const { handler } = limited(slow(1));
    await deliverAll(["first"], handler);
    const MessageAttributes = {
      trace: { DataType: "String", StringValue: "00-abc" },
      count: { DataType: "Number.int", StringValue: "7" },
      bytes: { DataType: "Binary", BinaryValue: Uint8Array.of(0, 200, 255) },
    };
    await host.sdk.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: "ünï", MessageAttributes }));
    const [record] = await host.receive(queueUrl);
    host.sqsProxy.calls.length = 0;
    const grouped = { ...record, attributes: { ...record?.attributes, MessageGroupId: "tenant-7" } } as SQSRecord;
    expect((await invoke(handler, { Records: [grouped] })).response).toEqual({ batchItemFailures: [] });
    const [copy] = sent();
    expect(copy).toMatchObject({
      MessageBody: "ünï",
      MessageGroupId: "tenant-7",
      MessageAttributes: {
        trace: { DataType: "String", StringValue: "00-abc" },
        count: { DataType: "Number.int", StringValue: "7" },
        bytes: { DataType: "Binary", BinaryValue: Buffer.from([0, 200, 255]).toString("base64") },
        "tasklane-slot": { DataType: "String" },
      },
    });
  });

  test("acknowledges what it sent back at once: a function that dies then doubles nothing", async () => {
    const { handler } = limited(slow(1));
    await host.send(queueUrl, ["a", "b", "c"]);
    // The answer of this invocation never arrives, as after a crash or a timeout.
    await handler({ Records: await host.receive(queueUrl) }, {} as never);
    expect(await host.counts(queueUrl)).toEqual({ visible: 0, delayed: 2, inFlight: 1 });
  });

  test("reports what could not be sent back, so that it comes again", async () => {
    const { handler, starts } = limited(slow(1));
    host.sqsProxy.interfere(async (call, forward) =>
      call.name.endsWith("SendMessageBatch") && call.body.includes('"no"') ? "hang-up" : forward(),
    );
    await host.sdk.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: "yes" }));
    await host.deliver(queueUrl, handler);
    await host.sdk.sqs.send(new SendMessageCommand({ QueueUrl: queueUrl, MessageBody: "no" }));
    const delivery = await host.deliver(queueUrl, handler);
    expect(delivery).toMatchObject({ deleted: [], response: { batchItemFailures: [{}] } });
    expect(starts.map(({ body }) => body)).toEqual(["yes"]);
    expect(told.map(([, code]) => code)).toEqual(["BACKEND_UNAVAILABLE"]);
    expect(await host.counts(queueUrl)).toEqual({ visible: 0, delayed: 0, inFlight: 1 });
  });

  test("waits for a slot that is near", async () => {
    const { handler, starts } = limited(defineRateLimit({ name, limit: 1, per: "1s", burst: 2 }));
    await deliverAll(["a"], handler);
    await deliverAll(["b"], handler);
    expect(starts.map(({ body }) => body)).toEqual(["a", "b"]);
    expect((starts[1]?.at ?? 0) - (starts[0]?.at ?? 0)).toBeGreaterThan(300);
    expect(sent()).toEqual([]);
  });

  test("sends back without a slot what lies beyond a minute, at a time of chance", async () => {
    const { handler } = limited(slow(1, { limit: 1 }));
    // The first slot is now, the second a minute ahead, and then nothing is free.
    await deliverAll(["a", "b", "c", "d"], handler);
    const copies = sent();
    const without = copies.filter(({ MessageAttributes }) => MessageAttributes["tasklane-slot"] === undefined);
    expect(copies).toHaveLength(3);
    expect(without.length).toBeGreaterThanOrEqual(2);
    for (const { DelaySeconds } of without) {
      expect(DelaySeconds).toBeGreaterThanOrEqual(2);
      expect(DelaySeconds).toBeLessThanOrEqual(900);
    }
  });

  test("gives each key a limit of its own, and stores none of them", async () => {
    const { handler, starts } = limited(slow(1), { key: ({ body }) => body.slice(0, 6) });
    host.dynamodbProxy.calls.length = 0;
    await deliverAll(["tenant-1", "tenant-2", "Tenant-1"], handler);
    expect(starts.map(({ body }) => body)).toEqual(["tenant-1", "Tenant-1"]);
    expect(sent().map(({ MessageBody }) => MessageBody)).toEqual(["tenant-2"]);
    expect(host.dynamodbProxy.calls.filter(({ body }) => body.includes("enant"))).toEqual([]);
  });

  test("reports a record whose key cannot be told, and runs the rest", async () => {
    const { handler, starts } = limited(slow(5), { key: ({ body }) => (JSON.parse(body) as { to: string }).to });
    await deliverAll(["no JSON", '{"to":"a"}'], handler);
    expect(starts).toHaveLength(1);
    expect(told).toHaveLength(1);
  });

  test("F18 reports everything while the table does not answer", async () => {
    const { handler, starts } = limited(slow(5));
    host.dynamodbProxy.interfere(async () => "hang-up");
    await host.send(queueUrl, ["a", "b"]);
    expect((await host.deliver(queueUrl, handler))?.deleted).toEqual([]);
    expect(starts).toEqual([]);
    expect(told.map(([, code]) => code)).toEqual(["BACKEND_UNAVAILABLE", "BACKEND_UNAVAILABLE"]);
  });

  test("sends a message with ten attributes back without a slot", async () => {
    const { handler } = limited(slow(1));
    await deliverAll(["first"], handler);
    const entries = Array.from({ length: 10 }, (_, place) => [`a${place}`, { DataType: "String", StringValue: "x" }]);
    await host.sdk.sqs.send(
      new SendMessageCommand({
        QueueUrl: queueUrl,
        MessageBody: "full",
        MessageAttributes: Object.fromEntries(entries) as Record<string, { DataType: string; StringValue: string }>,
      }),
    );
    await host.deliver(queueUrl, handler);
    expect(Object.keys(sent()[0]?.MessageAttributes ?? {}).sort()).toEqual(entries.map(([key]) => key));
  });

  test("takes the slot that a copy brings, without a write", async () => {
    const { handler, starts } = limited(slow(2));
    const slotUs = Date.now() * 1_000;
    const withSlot = (id: string, value: string, count = "1"): SQSRecord => {
      const record = recordWith(id);
      return {
        ...record,
        attributes: { ...record.attributes, ApproximateReceiveCount: count },
        messageAttributes: { "tasklane-slot": { dataType: "String", stringValue: value } },
      };
    };
    const writes = async (record: SQSRecord): Promise<number> => {
      host.dynamodbProxy.calls.length = 0;
      await invoke(handler, { Records: [record] });
      return host.dynamodbProxy.calls.length;
    };
    expect(await writes(withSlot("good", `${slotUs}@${name}`))).toBe(0);
    expect(starts.map(({ body }) => body)).toEqual(["good"]);
    // Used before, over, of another limit, or forged: each of them needs a slot of its own.
    expect(await writes(withSlot("again", `${slotUs}@${name}`, "2"))).toBeGreaterThan(0);
    expect(await writes(withSlot("over", `${slotUs - 60_000_000}@${name}`))).toBeGreaterThan(0);
    expect(await writes(withSlot("other", `${slotUs}@other`))).toBeGreaterThan(0);
    expect(await writes(withSlot("forged", `NaN@${name}`))).toBeGreaterThan(0);
    expect(await writes(withSlot("empty", ""))).toBeGreaterThan(0);
  });

  test("sends a copy back with its slot again if it comes too early", async () => {
    const { handler, starts } = limited(slow(2));
    const slotUs = (Date.now() + 30_000) * 1_000;
    await host.send(queueUrl, ["early"]);
    const [record] = await host.receive(queueUrl);
    host.sqsProxy.calls.length = 0;
    const messageAttributes = { "tasklane-slot": { dataType: "String", stringValue: `${slotUs}@${name}` } };
    await invoke(handler, { Records: [{ ...record, messageAttributes } as SQSRecord] });
    expect(starts).toEqual([]);
    expect(sent()[0]?.MessageAttributes["tasklane-slot"]?.StringValue).toBe(`${slotUs}@${name}`);
    expect([28, 29]).toContain(sent()[0]?.DelaySeconds);
  });

  test("does not wait longer than the invocation allows", async () => {
    const { handler, starts } = limited(defineRateLimit({ name, limit: 1, per: "1s", burst: 2 }));
    await deliverAll(["a"], handler);
    await host.send(queueUrl, ["b"]);
    host.sqsProxy.calls.length = 0;
    await invoke(handler, { Records: await host.receive(queueUrl) }, 1_000);
    expect(starts.map(({ body }) => body)).toEqual(["a"]);
    expect(sent().map(({ MessageBody }) => MessageBody)).toEqual(["b"]);
  });

  test("lets nothing start whose slot was over before the middlewares further in were done", async () => {
    const limit = defineRateLimit({ name, limit: 100, per: "1s", burst: 5 });
    const starts: string[] = [];
    let dawdledMs = 0;
    const clock = { ...systemClock, now: () => systemClock.now() + dawdledMs };
    const dawdling = { before: () => void (dawdledMs = 500) };
    const onFailure = (record: { messageId: string }): void => void told.push([record.messageId, "late"]);
    const handler = middy(async (event: SQSEvent) => void starts.push(...event.Records.map(({ body }) => body)))
      .use(rateLimit({ limit, table: TABLE, queueUrl, sdk: host.sdk, onFailure, clock }))
      .use(dawdling)
      .use(partialBatchResponse());
    await host.send(queueUrl, ["a"]);
    expect(await host.deliver(queueUrl, handler)).toMatchObject({ deleted: [] });
    expect(starts).toEqual([]);
    expect(told).toHaveLength(1);
  });

  test("refuses a FIFO queue and options that it does not know", async () => {
    const { handler } = limited(slow(1));
    const record = recordWith("a", { eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:plain.fifo" });
    expect(await invoke(handler, { Records: [record] })).toMatchObject({ error: { code: "OPTION_INVALID" } });
    const misspelled = { limit: slow(1), table: TABLE, limits: 1 } as RateLimitMiddlewareOptions;
    expect(() => rateLimit(misspelled)).toThrow(/limits/);
  });

  test.each([
    { limit: 20, burst: 10, messages: 60 },
    { limit: 5, burst: 1, messages: 15 },
    { limit: 40, burst: 4, messages: 60 },
  ])(
    "F28 three functions that share $limit a second and a burst of $burst never start more, and lose nothing",
    async ({ limit: perSecond, burst, messages }) => {
      const limit = defineRateLimit({ name, limit: perSecond, burst });
      const bodies = Array.from({ length: messages }, (_, place) => `m${place}`);
      await host.send(queueUrl, bodies);
      const functions = Array.from({ length: 3 }, () => limited(limit));
      const handled = (): string[] => functions.flatMap(({ starts }) => starts.map(({ body }) => body));
      // On a busy machine a slot may end before its record is handled: that record comes again after the queue's visibility timeout.
      const end = Date.now() + 120_000;
      await Promise.all(
        functions.map(async ({ handler }) => {
          while (handled().length < messages && Date.now() < end) await host.deliver(queueUrl, handler, 1);
        }),
      );
      expect(handled().sort()).toEqual([...bodies].sort());
      const starts = functions.flatMap((one) => one.starts.map(({ at }) => at));
      expect(worstBreach(starts, { limit: perSecond, perMs: 1_000, burst }, 5)).toBeUndefined();
      const { Messages } = await host.sdk.sqs.send(new ReceiveMessageCommand({ QueueUrl: queueUrl }));
      expect(Messages ?? []).toEqual([]);
    },
    150_000,
  );
});
