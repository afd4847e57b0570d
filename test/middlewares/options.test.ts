import middy from "@middy/core";
import { describe, expect, test } from "vitest";
import { defineRateLimit } from "../../lib/index.ts";
import { idempotency, partialBatchResponse, rateLimit, visibilityHeartbeat } from "../../lib/lambda/index.ts";
import { invoke } from "./plain-host.ts";

const limit = defineRateLimit({ name: "smtp", limit: 50 });
const table = "keys";
const key = (): string => "k";

/** Options as code without types passes them. */
function loose<Options>(options: unknown): Options {
  return options as Options;
}

describe("a middleware is not made", () => {
  test.each<[string, () => unknown, RegExp]>([
    ["idempotency without a table", () => idempotency(loose({ key })), /table of idempotency.*environment/],
    ["idempotency without a key", () => idempotency(loose({ table })), /key of idempotency/],
    [
      "idempotency with a key that is a text",
      () => idempotency(loose({ table, key: "messageId" })),
      /key of idempotency/,
    ],
    ["idempotency that forgets at once", () => idempotency({ table, key, expires: "0s" }), /expires of idempotency/],
    [
      "idempotency with an unknown attribute",
      () => idempotency(loose({ table, key, attributes: { expires: "ttl" } })),
      /"expires" for attributes of idempotency/,
    ],
    [
      "idempotency with one name for two attributes",
      () => idempotency({ table, key, attributes: { status: "s", token: "s" } }),
      /same name/,
    ],
    ["idempotency with a default's name", () => idempotency({ table, key, attributes: { status: "id" } }), /same name/],
    [
      "idempotency with a sort key of the key's name",
      () => idempotency({ table, key, attributes: { sortKey: "id" } }),
      /same name/,
    ],
    ["idempotency with a listener that is none", () => idempotency(loose({ table, key, onReplay: true })), /onReplay/],
    ["rateLimit without options", () => rateLimit(loose(undefined)), /options of rateLimit/],
    ["rateLimit without a limit", () => rateLimit(loose({ table })), /limit of rateLimit.*defineRateLimit/],
    [
      "rateLimit with a limit of its own making",
      () => rateLimit(loose({ table, limit: { max: 3 } })),
      /limit of rateLimit/,
    ],
    ["rateLimit without a table", () => rateLimit(loose({ limit })), /table of rateLimit/],
    ["rateLimit with an empty table", () => rateLimit({ limit, table: "" }), /table of rateLimit/],
    ["rateLimit with an empty queue", () => rateLimit({ limit, table, queueUrl: "" }), /queueUrl of rateLimit/],
    [
      "visibilityHeartbeat with an empty queue",
      () => visibilityHeartbeat({ queueUrl: "" }),
      /queueUrl of visibilityHeartbeat/,
    ],
    [
      "partialBatchResponse with a listener that is none",
      () => partialBatchResponse(loose({ onFailure: {} })),
      /onFailure/,
    ],
  ])("of %s", (_what, make, message) => {
    expect(make).toThrow(expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringMatching(message) }));
  });
});

test("an event of another service passes all four, and its answer is the handler's own", async () => {
  const events = [
    { Records: [{ eventSource: "aws:s3", s3: { object: { key: "a.png" } } }] },
    { Records: [{ EventSource: "aws:sns", Sns: { Message: "hello" } }] },
    { source: "aws.events" },
  ];
  for (const event of events) {
    const seen: unknown[] = [];
    const chain = middy(async (given: unknown) => (seen.push(given), "mine"), { timeoutEarlyInMillis: 0 }).use([
      visibilityHeartbeat(),
      rateLimit({ limit, table }),
      idempotency({ table, key }),
      partialBatchResponse(),
    ]);
    const { response, error } = await invoke(chain, loose(event), 60_000);
    expect(error).toBeUndefined();
    expect(response).toBe("mine");
    expect(seen).toEqual([event]);
  }
});
