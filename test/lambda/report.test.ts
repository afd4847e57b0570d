import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { defineTask } from "../../lib/index.ts";
import type { LambdaSqsEvent } from "../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../lib/lambda/index.ts";
import { createMemoryBackend } from "../../lib/memory/memory-backend.ts";
import { ManualClock } from "../../lib/memory/manual-clock.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import { z } from "zod";

const noop = defineTask({ name: "noop", input: z.object({}) }).handle(() => undefined);

/** Records as an event source sends them, and as it never should. */
const anyRecord = fc.record({
  messageId: fc.oneof(
    fc.constantFrom("a", "b", "c"),
    fc.string(),
    fc.constant(undefined),
    fc.constant(null),
    fc.integer(),
  ),
  receiptHandle: fc.string(),
  body: fc.oneof(fc.string(), fc.json()),
  attributes: fc.constant({ ApproximateReceiveCount: "1", SentTimestamp: "0" }),
  eventSourceARN: fc.constantFrom("arn:aws:sqs:us-east-1:1:tasklane-normal", "arn:aws:sqs:us-east-1:1:other", ""),
});
const anyEvent = fc.oneof(
  fc.record({
    Records: fc.array(fc.oneof({ weight: 9, arbitrary: anyRecord }, { weight: 1, arbitrary: fc.anything() })),
  }),
  fc.anything(),
);

describe("the report", () => {
  test.each([
    ["F13", "names nothing but the event's own messages, each once"],
    ["F14", "is there whatever the event holds"],
  ])("%s %s", async () => {
    await fc.assert(
      fc.asyncProperty(anyEvent, async (event) => {
        const clock = new ManualClock();
        const random = seededRandom(1);
        const worker = createLambdaWorker({
          handlers: [noop],
          backend: createMemoryBackend({ clock, random }),
          clock,
          random,
          log: () => undefined,
          writeMetrics: () => undefined,
        });
        let report: unknown;
        const done = worker(event as LambdaSqsEvent).then((answer) => (report = answer));
        for (let turn = 0; turn < 10_000 && report === undefined; turn++) {
          await new Promise((resolve) => setImmediate(resolve));
          const next = clock.nextTimerAt();
          if (report === undefined && next !== undefined) clock.advanceTo(next);
        }
        await done;
        const ids = idsIn(event);
        const { batchItemFailures } = report as { batchItemFailures: { itemIdentifier: string }[] };
        const named = batchItemFailures.map(({ itemIdentifier }) => itemIdentifier);
        expect(named.filter((id) => !ids.includes(id))).toEqual([]);
        expect(new Set(named).size).toBe(named.length);
      }),
      { numRuns: 150 },
    );
  });

  test("F14 is full when nothing can be done", async () => {
    const worker = createLambdaWorker({
      handlers: [noop],
      log: () => undefined,
      topology: { queue: "x", lanes: {}, table: "t", bucket: "b" },
    });
    const record = {
      messageId: "one",
      receiptHandle: "r",
      body: "{}",
      attributes: { ApproximateReceiveCount: "1", SentTimestamp: "0" },
      eventSourceARN: "arn:aws:sqs:us-east-1:1:nobodys",
    };
    expect(await worker({ Records: [record, { ...record, messageId: "two" }, record] })).toEqual({
      batchItemFailures: [{ itemIdentifier: "one" }, { itemIdentifier: "two" }],
    });
  });
});

function idsIn(event: unknown): unknown[] {
  const records: unknown = typeof event === "object" && event !== null ? Reflect.get(event, "Records") : [];
  if (!Array.isArray(records)) return [];
  return records.map((record: unknown) =>
    typeof record === "object" && record !== null ? Reflect.get(record, "messageId") : undefined,
  );
}
