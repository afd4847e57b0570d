import { describe, expect, test } from "vitest";
import type { TasklaneClient } from "../../../lib/index.ts";
import { createMemoryQueue } from "../../../lib/testing/index.ts";
import { archiveOrders } from "../nightly.ts";
import { readOrders } from "../orders.ts";
import { chargeCard, nightlyExport, sendReceipt } from "../tasks.ts";
import { answerRequest } from "./api.ts";
import type { ArtifactBucket } from "./artifact-bucket.ts";
import { cloudHandlers } from "./handlers.ts";

const orders = readOrders(new URL("../orders.csv", import.meta.url));
const [order, other] = orders;
if (order === undefined || other === undefined) throw new Error("orders.csv has fewer than two orders");

/** A bucket that counts how often each key was written, and with how many different contents. */
function memoryBucket(): ArtifactBucket & { readonly contents: Map<string, Set<string>> } {
  const contents = new Map<string, Set<string>>();
  return {
    contents,
    put: async (key, bytes) => {
      const text = Buffer.from(bytes).toString("base64");
      contents.set(key, (contents.get(key) ?? new Set()).add(text));
    },
    get: async (key) => Buffer.from([...(contents.get(key) ?? [])][0] ?? "", "base64"),
  };
}

async function ask(client: TasklaneClient, method: string, rawPath: string, body?: string): Promise<[number, unknown]> {
  const answer = await answerRequest(client, { rawPath, body, requestContext: { http: { method } } });
  expect(answer.headers["content-type"]).toBe("application/json");
  return [answer.statusCode, JSON.parse(answer.body)];
}

describe("the shop's door", () => {
  test("takes an order once, and tells how its task is", async () => {
    const { client, drain } = createMemoryQueue({ handlers: cloudHandlers(memoryBucket()) });
    const [status, accepted] = await ask(client, "POST", "/orders", JSON.stringify(order));
    expect([status, accepted]).toEqual([202, { task: "charge-card", id: expect.any(String), duplicate: false }]);
    expect(await ask(client, "POST", "/orders", JSON.stringify(order))).toEqual([
      202,
      { ...(accepted as object), duplicate: true },
    ]);
    const path = `/tasks/charge-card/${(accepted as { id: string }).id}`;
    expect(await ask(client, "GET", path)).toMatchObject([200, { state: "queued" }]);
    await drain();
    expect(await ask(client, "GET", path)).toEqual([200, { state: "succeeded", attempts: 1, failures: 0 }]);
  });

  test("takes a body in base64, as function URLs send what they take for binary", async () => {
    const { client } = createMemoryQueue();
    const answer = await answerRequest(client, {
      rawPath: "/orders",
      body: Buffer.from(JSON.stringify(order)).toString("base64"),
      isBase64Encoded: true,
      requestContext: { http: { method: "POST" } },
    });
    expect(answer.statusCode).toBe(202);
  });

  test.each([
    ["an order with a wrong address", JSON.stringify({ ...order, email: "nobody" }), "INPUT_INVALID"],
    ["a list", "[]", "INPUT_INVALID"],
    ["what is no JSON", "{", "INPUT_NOT_JSON"],
    ["nothing", "", "INPUT_NOT_JSON"],
  ])("refuses %s with 400", async (_, body, code) => {
    const { client } = createMemoryQueue();
    expect(await ask(client, "POST", "/orders", body)).toMatchObject([400, { error: code }]);
  });

  test("refuses a full lane with 503, and says when to come again", async () => {
    const { client } = createMemoryQueue({ spec: { maxBacklog: { critical: 1 } } });
    expect((await ask(client, "POST", "/orders", JSON.stringify(order)))[0]).toBe(202);
    const answer = await answerRequest(client, {
      rawPath: "/orders",
      body: JSON.stringify(other),
      requestContext: { http: { method: "POST" } },
    });
    expect(answer).toMatchObject({ statusCode: 503, headers: { "retry-after": "30" } });
    expect(JSON.parse(answer.body)).toMatchObject({ error: "QUEUE_FULL" });
  });

  test("refuses another order under the same number with 409", async () => {
    const { client } = createMemoryQueue();
    await ask(client, "POST", "/orders", JSON.stringify(order));
    expect(await ask(client, "POST", "/orders", JSON.stringify({ ...other, id: order.id }))).toMatchObject([
      409,
      { error: "IDEMPOTENCY_CONFLICT" },
    ]);
  });

  test.each([
    ["GET", "/"],
    ["DELETE", "/orders"],
    ["GET", "/tasks/no-such-task/x"],
    ["GET", "/tasks/charge-card/"],
    ["GET", "/tasks/charge-card/AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"],
    ["GET", "/tasks/charge-card/%E0%A4%A"],
  ])("knows no %s %s", async (method, path) => {
    const { client } = createMemoryQueue();
    expect((await ask(client, method, path))[0]).toBe(404);
  });
});

describe("the shop's work in the cloud", () => {
  test("an order leads to a charge, an invoice and a receipt, with the same bytes each time", async () => {
    const bucket = memoryBucket();
    for (let run = 0; run < 2; run++) {
      const { client, drain, tasks } = createMemoryQueue({ handlers: cloudHandlers(bucket), seed: run });
      await client.enqueue(chargeCard, order);
      await drain();
      expect(await tasks(sendReceipt)).toMatchObject([{ state: "succeeded", attempts: 1 }]);
    }
    // What an attempt after a crash writes again must be the very same, or a charge would have two keys and an invoice two texts.
    expect([...bucket.contents].map(([key, contents]) => [key, contents.size])).toEqual([
      [`charges/${order.id}.json`, 1],
      [`invoices/${order.id}.pdf`, 1],
      [`receipts/${order.id}.eml`, 1],
    ]);
  });

  test("a mistyped card is dead at once, and nothing follows", async () => {
    const bucket = memoryBucket();
    const { client, drain } = createMemoryQueue({ handlers: cloudHandlers(bucket) });
    const task = await client.enqueue(chargeCard, { ...order, cardToken: "tok_mistyped-0" });
    await drain();
    expect(await task.get()).toMatchObject({ state: "dead", reason: "TERMINAL", attempts: 1 });
    expect(bucket.contents.size).toBe(0);
  });

  test("a day is added up", async () => {
    const bucket = memoryBucket();
    const { client, drain } = createMemoryQueue({ handlers: cloudHandlers(bucket) });
    const task = await client.enqueue(nightlyExport, { day: "2026-11-23", orders: archiveOrders(orders.slice(0, 3)) });
    await drain();
    expect(await task.result()).toMatchObject({ orders: 3 });
    expect([...bucket.contents.keys()]).toEqual(["export/2026-11-23.csv"]);
  });
});
