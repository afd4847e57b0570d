import middy from "@middy/core";
import type { SQSEvent, SQSRecord } from "aws-lambda";
import fc from "fast-check";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import type { SqsMiddleware } from "../../lib/lambda/index.ts";
import { idempotency, partialBatchResponse, rateLimit, visibilityHeartbeat } from "../../lib/lambda/index.ts";
import { MIDDLEWARES } from "../../lib/lambda/middlewares/chain.ts";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { worstBreach } from "../support/rate-property.ts";
import type { PlainFunction, PlainHost } from "./plain-host.ts";
import { invoke, recordWith, startPlainHost } from "./plain-host.ts";

let host: PlainHost;
beforeAll(async () => {
  host = await startPlainHost();
  await host.createTable("limits", ["pk", "sk"]);
  await host.createTable("keys", ["id"]);
});
afterAll(() => host.close());
afterEach(() => {
  host.sqsProxy.interfere();
  host.dynamodbProxy.interfere();
  host.sqsProxy.calls.length = 0;
  host.dynamodbProxy.calls.length = 0;
  vi.restoreAllMocks();
});

type Name = (typeof MIDDLEWARES)[number];
const silent = (): void => undefined;

/** Each middleware on a queue, with a limit of its own. */
function make(queueUrl: string, limitName: string, limit = 1_000, burst = 500): Record<Name, SqsMiddleware> {
  const { sdk } = host;
  return {
    visibilityHeartbeat: visibilityHeartbeat({ sdk, queueUrl }),
    rateLimit: rateLimit({
      sdk,
      queueUrl,
      table: "limits",
      limit: defineRateLimit({ name: limitName, limit, burst }),
      onFailure: silent,
    }),
    idempotency: idempotency({ sdk, table: "keys", key: ({ body }) => `${limitName}#${body}`, onFailure: silent }),
    partialBatchResponse: partialBatchResponse({ onFailure: silent }),
  };
}

/** All subsets of the middlewares, in every order. */
function arrangements(names: readonly Name[]): Name[][] {
  return [
    [],
    ...names.flatMap((first) => arrangements(names.filter((name) => name !== first)).map((rest) => [first, ...rest])),
  ];
}

function isOrdered(names: readonly Name[]): boolean {
  const places = names.map((name) => MIDDLEWARES.indexOf(name));
  return places.every((place, at) => at === 0 || place > (places[at - 1] ?? 0));
}

describe("the order of the middlewares", () => {
  const chains = arrangements(MIDDLEWARES).filter((names) => names.length > 0);

  test("is right in 15 of all 64 chains", () => {
    expect([chains.length, chains.filter(isOrdered).length]).toEqual([64, 15]);
  });

  async function callOnce(
    names: readonly Name[],
  ): Promise<{ handler: PlainFunction; delivery: unknown; given: number[] }> {
    const queueUrl = await host.createQueue(`order-${names.join("-")}`);
    await host.send(queueUrl, ["a"]);
    const made = make(queueUrl, `order-${names.map((name) => name.slice(0, 1)).join("")}`);
    const given: number[] = [];
    const handler = middy(async ({ Records }: SQSEvent) => void given.push(Records.length)).use(
      names.map((name) => made[name]),
    );
    return { handler, delivery: await host.deliver(queueUrl, handler), given };
  }

  const right = chains.filter(isOrdered).map((names) => [names.join(", "), names] as const);
  test.each(right)("may be %s", async (_, names) => {
    const { delivery, given } = await callOnce(names);
    expect(delivery).toMatchObject({ response: { batchItemFailures: [] }, error: undefined });
    expect(given).toEqual([1]);
  });

  const wrong = chains.filter((names) => !isOrdered(names)).map((names) => [names.join(", "), names] as const);
  test.each(wrong)("may not be %s", async (_, names) => {
    const { handler, delivery, given } = await callOnce(names);
    expect(delivery).toMatchObject({
      error: { code: "OPTION_INVALID", message: expect.stringContaining(MIDDLEWARES.join(", ")) },
      deleted: [],
    });
    expect(given).toEqual([]);
    // From the second call on nothing is done at all.
    host.sqsProxy.calls.length = 0;
    host.dynamodbProxy.calls.length = 0;
    expect(await invoke(handler, { Records: [recordWith("b")] })).toMatchObject({ error: { code: "OPTION_INVALID" } });
    expect([...host.sqsProxy.calls, ...host.dynamodbProxy.calls]).toEqual([]);
  });

  test("frees the keys that were claimed before the mistake was found", async () => {
    const queueUrl = await host.createQueue("freed");
    const made = make(queueUrl, "freed");
    const wrong = middy(async () => undefined).use([made.idempotency, made.rateLimit]);
    await invoke(wrong, { Records: [recordWith("a")] });
    let given = 0;
    const right = middy(async ({ Records }: SQSEvent) => void (given = Records.length)).use(
      make(queueUrl, "freed").idempotency,
    );
    await invoke(right, { Records: [recordWith("a")] });
    expect(given).toBe(1);
  });
});

describe("all four together", () => {
  const ORDER = [...MIDDLEWARES];

  test("handle every message once within the limit, through failures, duplicates and three functions", async () => {
    const queueUrl = await host.createQueue("together");
    const bodies = Array.from({ length: 40 }, (_, place) => `m${place}`);
    // Each piece of work comes twice, as from a producer that tries again.
    await host.send(queueUrl, [...bodies, ...bodies]);
    const attempts = new Map<string, number>();
    const succeeded: string[] = [];
    const starts: number[] = [];
    const work = async ({ Records }: SQSEvent): Promise<PromiseSettledResult<void>[]> => {
      starts.push(...Records.map(() => Date.now()));
      return Promise.allSettled(
        Records.map(async ({ body }) => {
          const attempt = (attempts.get(body) ?? 0) + 1;
          attempts.set(body, attempt);
          if (body.endsWith("7") && attempt === 1) throw new Error("the first time");
          succeeded.push(body);
        }),
      );
    };
    const handlers = Array.from({ length: 3 }, () => {
      const made = make(queueUrl, "together", 40, 20);
      return middy(work).use(ORDER.map((name) => made[name]));
    });
    // Nothing that failed waits here: it is shown again at once, by the test's own hand.
    const left = async (): Promise<boolean> => {
      const { visible, delayed, inFlight } = await host.counts(queueUrl);
      return visible + delayed + inFlight > 0;
    };
    const end = Date.now() + 40_000;
    await Promise.all(
      handlers.map(async (handler) => {
        while ((await left()) && Date.now() < end) await deliverAndShow(queueUrl, handler);
      }),
    );
    expect([...succeeded].sort()).toEqual([...bodies].sort());
    expect(await left()).toBe(false);
    expect(worstBreach(starts, { limit: 40, perMs: 1_000, burst: 20 }, 5)).toBeUndefined();
  });

  test("F13, F14 whatever fails, the report holds ids of the event only, and each record that failed", async () => {
    const queueUrl = await host.createQueue("property");
    let round = 0;
    const fate = fc.constantFrom("ok", "fails", "in-progress", "completed", "bad-key", "table-down", "duplicate");
    await fc.assert(
      fc.asyncProperty(fc.array(fate, { minLength: 1, maxLength: 8 }), fc.boolean(), async (fates, throws) => {
        const name = `p${round++}`;
        const records = fates.map((one, place) => recordWith(`${name}-${place}-${one}`));
        const ids = records.map(({ messageId }) => messageId);
        const key = ({ body }: { body: string }): string => (body.endsWith("bad-key") ? "" : body);
        const chain = (handler: (event: SQSEvent) => Promise<unknown>): PlainFunction => {
          // A slot is good for ten seconds: on a busy machine none must end before its record is handled.
          const made = make(queueUrl, "property", 1_000, 10_000);
          const keyed = idempotency({ sdk: host.sdk, table: "keys", key, onFailure: silent });
          return middy(handler).use([made.visibilityHeartbeat, made.rateLimit, keyed, made.partialBatchResponse]);
        };
        const only = (ending: string): SQSRecord[] => records.filter(({ body }) => body.endsWith(ending));
        if (only("completed").length > 0)
          await invoke(
            chain(async () => undefined),
            { Records: only("completed") },
          );
        let release = (): void => undefined;
        const held = new Promise<void>((resolve) => (release = resolve));
        let began = 0;
        const busy = invoke(
          chain(async () => {
            began += 1;
            await held;
          }),
          { Records: only("in-progress") },
        );
        await vi.waitUntil(() => began === 1);
        host.dynamodbProxy.interfere(async (call, forward) => {
          const body = call.body.toString();
          return body.includes("table-down") ? "hang-up" : forward();
        });
        const work = async ({ Records }: SQSEvent): Promise<unknown> => {
          if (throws) throw new Error("all of it");
          return Promise.allSettled(
            Records.map(async ({ body }) => {
              if (body.endsWith("fails")) throw new Error("this one");
            }),
          );
        };
        const twice = records.flatMap((record) => (record.body.endsWith("duplicate") ? [record, record] : [record]));
        const { response, error } = await invoke(chain(work), { Records: twice });
        host.dynamodbProxy.interfere();
        release();
        await busy;
        expect(error).toBeUndefined();
        const reported = (response as { batchItemFailures: { itemIdentifier: string }[] }).batchItemFailures.map(
          ({ itemIdentifier }) => itemIdentifier,
        );
        const expected = ids.filter((id) => !id.endsWith("completed") && (throws || !id.endsWith("ok")));
        expect(reported).toEqual(expected);
      }),
      { numRuns: 25 },
    );
  });

  test("say by default which record failed, in one line of JSON each", async () => {
    const lines: string[] = [];
    vi.spyOn(process.stdout, "write").mockImplementation((line) => {
      lines.push(String(line));
      return true;
    });
    const refuse = async (): Promise<never> => {
      throw new Error("no");
    };
    await invoke(middy(refuse).use(partialBatchResponse()), { Records: [recordWith("a")] });
    vi.restoreAllMocks();
    expect(lines.map((line) => JSON.parse(line) as object)).toMatchObject([
      { level: "error", message: "record failed", middleware: "partialBatchResponse", messageId: "a", code: null },
    ]);
  });

  test("keep what a middleware of somebody else's made of the records", async () => {
    const queueUrl = await host.createQueue("foreign");
    const made = make(queueUrl, "foreign");
    const parse = {
      before: (request: { event: { Records: { body: unknown }[] } }) => {
        request.event = {
          Records: request.event.Records.map((record) => ({ ...record, body: { parsed: record.body } })),
        };
      },
    };
    const seen: unknown[] = [];
    await invoke(middy(async () => undefined).use(made.idempotency), { Records: [recordWith("a")] });
    const handler = middy(async ({ Records }: SQSEvent) => void seen.push(...Records.map(({ body }) => body)))
      .use(made.rateLimit)
      .use(parse)
      .use(made.idempotency);
    const { response } = await invoke(handler, { Records: [recordWith("a"), recordWith("b")] });
    expect(response).toEqual({ batchItemFailures: [] });
    expect(seen).toEqual([{ parsed: "b" }]);
  });
});

/** Delivers a batch, and shows at once what was reported as failed. */
async function deliverAndShow(queueUrl: string, handler: PlainFunction): Promise<void> {
  const records = await host.receive(queueUrl, 1);
  if (records.length === 0) return;
  const { response, error } = await invoke(handler, { Records: records });
  const { batchItemFailures } = response as { batchItemFailures: { itemIdentifier: string }[] };
  const failed = new Set(batchItemFailures.map(({ itemIdentifier }) => itemIdentifier));
  expect(error).toBeUndefined();
  await host.finish(queueUrl, records, failed);
}
