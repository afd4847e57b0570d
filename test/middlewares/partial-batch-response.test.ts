import middy from "@middy/core";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import type { PartialBatchResponseOptions } from "../../lib/lambda/middlewares/partial-batch-response.ts";
import { partialBatchResponse } from "../../lib/lambda/middlewares/partial-batch-response.ts";
import { invoke, keptBy, recordWith } from "./plain-host.ts";

const EVENT = eventOf("a", "b", "c");

function eventOf(...ids: string[]): SQSEvent {
  return { Records: ids.map((id) => recordWith(id)) };
}

/** Calls a handler that answers so, with the middleware alone, and gives the ids that it reports. */
async function report(answer: (event: SQSEvent) => unknown, event = EVENT): Promise<unknown> {
  const handler = middy(async (given: SQSEvent) => answer(given)).use(
    partialBatchResponse({ onFailure: () => undefined }),
  );
  const { response, error } = await invoke(handler, event);
  if (error !== undefined) throw error;
  return (response as { batchItemFailures?: { itemIdentifier: string }[] }).batchItemFailures?.map(
    ({ itemIdentifier }) => itemIdentifier,
  );
}

function settle(...failing: string[]): (event: SQSEvent) => Promise<PromiseSettledResult<string>[]> {
  return ({ Records }) =>
    Promise.allSettled(
      Records.map(async ({ messageId }) => {
        if (failing.includes(messageId)) throw new Error(`no ${messageId}`);
        return messageId;
      }),
    );
}

describe("partialBatchResponse", () => {
  test("reports the records whose promises were rejected", async () => {
    expect(await report(settle("b"))).toEqual(["b"]);
    expect(await report(settle())).toEqual([]);
    expect(await report(settle("c", "a", "b"))).toEqual(["a", "b", "c"]);
  });

  test("F12 reports every record if the handler throws, and fails no invocation", async () => {
    const refuse = (): never => {
      throw new Error("no");
    };
    expect(await report(refuse)).toEqual(["a", "b", "c"]);
  });

  test("takes a report of the handler's own, and nothing for success", async () => {
    expect(await report(() => ({ batchItemFailures: [{ itemIdentifier: "c" }] }))).toEqual(["c"]);
    for (const nothing of [undefined, null, {}, "done", 7, { batchItemFailures: null }, { batchItemFailures: [] }])
      expect(await report(() => nothing)).toEqual([]);
  });

  test.each([
    ["an id that the event does not have", { batchItemFailures: [{ itemIdentifier: "a" }, { itemIdentifier: "z" }] }],
    ["an empty id", { batchItemFailures: [{ itemIdentifier: "" }] }],
    ["no id", { batchItemFailures: [{}] }],
    ["an id under another name", { batchItemFailures: [{ messageId: "a" }] }],
    ["ids without their objects", { batchItemFailures: ["a"] }],
    ["a list that is none", { batchItemFailures: { itemIdentifier: "a" } }],
    ["too few results", [{ status: "fulfilled", value: 1 }]],
    ["an empty list of results", []],
    ["values in place of results", [1, 2, 3]],
  ])("F13 reports every record on %s", async (_what, answer) => {
    expect(await report(() => answer)).toEqual(["a", "b", "c"]);
  });

  test("does not rely on the event that the handler had in its hands", async () => {
    const emptying = async (event: SQSEvent): Promise<unknown> => {
      const results = await settle("b")(event);
      event.Records.length = 0;
      return results;
    };
    expect(await report(emptying, eventOf("a", "b", "c"))).toEqual(["b"]);
  });

  test("F15 reports the rest of a failed record's group on a FIFO queue", async () => {
    const inGroup = (id: string, group: string): SQSRecord => {
      const record = recordWith(id, { eventSourceARN: "arn:aws:sqs:us-east-1:000000000000:plain.fifo" });
      return { ...record, attributes: { ...record.attributes, MessageGroupId: group } };
    };
    const event = { Records: [inGroup("a1", "a"), inGroup("b1", "b"), inGroup("a2", "a"), inGroup("b2", "b")] };
    expect(await report(settle("a1"), event)).toEqual(["a1", "a2"]);
    expect(await report(settle("b2"), event)).toEqual(["b2"]);
    expect(await report(settle("a1", "b1"), event)).toEqual(["a1", "b1", "a2", "b2"]);
  });

  test("leaves an event of another kind, and the answer to it, as they are", async () => {
    const handler = middy(async () => ({ statusCode: 200 })).use(partialBatchResponse());
    expect(await invoke(handler, { source: "warm-up" } as never)).toEqual({
      response: { statusCode: 200 },
      error: undefined,
    });
  });

  test("tells of each failure with its reason, and bears a listener that throws", async () => {
    const told: unknown[] = [];
    const options: PartialBatchResponseOptions = {
      onFailure: (record, reason) => {
        told.push([record.messageId, reason instanceof Error ? reason.message : reason]);
        throw new Error("the listener's own");
      },
    };
    const handler = middy(settle("a", "c")).use(partialBatchResponse(options));
    expect((await invoke(handler, EVENT)).response).toEqual({
      batchItemFailures: [{ itemIdentifier: "a" }, { itemIdentifier: "c" }],
    });
    expect(told).toEqual([
      ["a", "no a"],
      ["c", "no c"],
    ]);
  });

  test("refuses an option that it does not know", () => {
    const misspelled = { onFailures: () => undefined } as PartialBatchResponseOptions;
    expect(() => partialBatchResponse(misspelled)).toThrow(/OPTION_INVALID.*onFailures/);
  });

  test("F13, F14 whatever the handler answers, the report is valid, and no failure is lost", async () => {
    const ids = fc.uniqueArray(fc.string({ minLength: 1, maxLength: 4 }), { minLength: 1, maxLength: 12 });
    const anything = fc.anything({ maxDepth: 3 });
    const ownReport = fc.record({
      batchItemFailures: fc.oneof(anything, fc.array(fc.record({ itemIdentifier: fc.oneof(fc.string(), anything) }))),
    });
    await fc.assert(
      fc.asyncProperty(ids, fc.oneof(anything, ownReport), async (given, answer) => {
        const event = eventOf(...given);
        const reported = (await report(() => answer, event)) as string[];
        expect(new Set(reported).size).toBe(reported.length);
        expect(given).toEqual(expect.arrayContaining(reported));
        // What AWS would have kept on the handler's own answer is kept; a list is for us to read, and no results are in it.
        const kept = Array.isArray(answer) ? given : keptBy(answer, given);
        expect(new Set(reported)).toEqual(new Set(kept));
      }),
      { numRuns: 300 },
    );
  });

  test("F14 keeps exactly the records that failed, for any of them", async () => {
    const cases = fc.array(fc.boolean(), { minLength: 1, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(cases, async (fails) => {
        const ids = fails.map((_, place) => `m${place}`);
        const failing = ids.filter((_, place) => fails[place]);
        expect(await report(settle(...failing), eventOf(...ids))).toEqual(failing);
      }),
      { numRuns: 100 },
    );
  });
});
