import { afterAll, afterEach, beforeAll, describe, expect, test } from "vitest";
import { connect } from "../../lib/connect.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Backend } from "../../lib/ports/backend.ts";
import { provision } from "../../lib/provision.ts";
import type { Topology } from "../../lib/task/topology.ts";
import type { Interference, InterferingProxy } from "../support/interfering-proxy.ts";
import { jsonReply, startProxy } from "../support/interfering-proxy.ts";

const LANE = { lane: "normal" } as const;
const LOW = { lane: "low" } as const;

let stack: EmbeddedStack;
let proxy: InterferingProxy;
let topology: Topology;
let backend: Backend;
let queue: Backend["queue"];

beforeAll(async () => {
  stack = await startEmbeddedStack();
  const made = await provision({ queue: "partial" }, { endpoint: stack.endpoints });
  proxy = await startProxy(stack.endpoints.sqs);
  topology = { ...made, endpoint: { ...stack.endpoints, sqs: proxy.url } };
  ({ backend } = await connect(topology, undefined));
  queue = backend.queue;
});
afterAll(async () => {
  backend.close();
  await proxy.close();
  await stack.close();
});
afterEach(() => {
  proxy.interfere();
  proxy.calls.length = 0;
});

interface Batch {
  Entries: { Id: string; MessageBody?: string; ReceiptHandle?: string }[];
}

/** Fails the entries that a test picks, as SQS does: in a list beside those that were done, under HTTP 200. */
function failEntries(pick: (entry: Batch["Entries"][number]) => object | undefined): Interference {
  return async (call, forward) => {
    if (!call.name.endsWith("Batch")) return forward();
    const batch: Batch = JSON.parse(call.body.toString());
    const failed = batch.Entries.flatMap((entry) => {
      const failure = pick(entry);
      return failure === undefined ? [] : [{ Id: entry.Id, ...failure }];
    });
    const rest = batch.Entries.filter(({ Id }) => failed.every((entry) => entry.Id !== Id));
    if (rest.length === 0) return jsonReply(200, { Successful: [], Failed: failed });
    const reply = await forward(Buffer.from(JSON.stringify({ ...batch, Entries: rest })));
    return jsonReply(reply.status, { ...JSON.parse(reply.body.toString()), Failed: failed });
  };
}

const INTERNAL = { Code: "InternalError", Message: "once more", SenderFault: false };
const sizesOf = (): number[] => proxy.calls.map(({ body }) => (JSON.parse(body.toString()) as Batch).Entries.length);

async function receiveAll(address: Parameters<typeof queue.receive>[0]): Promise<string[]> {
  const bodies: string[] = [];
  for (;;) {
    const messages = await queue.receive(address, { max: 10, waitMs: 0, visibilityMs: 600_000 });
    if (messages.length === 0) return bodies.sort();
    bodies.push(...messages.map(({ body }) => body));
  }
}

describe("F23 an entry that failed inside an accepted batch", () => {
  test("is sent again alone, and the others are not", async () => {
    const failures = new Map([
      ["b", 1],
      ["d", 2],
    ]);
    proxy.interfere(
      failEntries(({ MessageBody = "" }) => {
        const left = failures.get(MessageBody) ?? 0;
        failures.set(MessageBody, left - 1);
        return left > 0 ? INTERNAL : undefined;
      }),
    );
    const bodies = ["a", "b", "c", "d", "e"];
    expect(
      await queue.send(
        LANE,
        bodies.map((body) => ({ body })),
      ),
    ).toEqual(bodies.map(() => ({ ok: true })));
    expect(sizesOf()).toEqual([5, 1, 1, 1]);
    proxy.interfere();
    expect(await receiveAll(LANE)).toEqual(bodies);
  });

  test("is given up after three more tries, by itself", async () => {
    proxy.interfere(failEntries(({ MessageBody }) => (MessageBody === "never" ? INTERNAL : undefined)));
    const outcomes = await queue.send(LANE, [{ body: "first" }, { body: "never" }, { body: "last" }]);
    expect(outcomes).toMatchObject([{ ok: true }, { ok: false, error: { code: "BACKEND_UNAVAILABLE" } }, { ok: true }]);
    expect(sizesOf()).toEqual([3, 1, 1, 1]);
    proxy.interfere();
    expect(await receiveAll(LANE)).toEqual(["first", "last"]);
  });

  test("is not sent again if the fault is the sender's", async () => {
    const fault = { Code: "InvalidMessageContents", Message: "no", SenderFault: true };
    proxy.interfere(failEntries(({ MessageBody }) => (MessageBody === "bad" ? fault : undefined)));
    const outcomes = await queue.send(LANE, [{ body: "bad" }, { body: "good" }]);
    expect(outcomes).toMatchObject([{ ok: false, error: { code: "OPTION_INVALID" } }, { ok: true }]);
    expect(sizesOf()).toEqual([2]);
    proxy.interfere();
    expect(await receiveAll(LANE)).toEqual(["good"]);
  });

  test("counts as removed if only its receipt was stale", async () => {
    const stale = { Code: "ReceiptHandleIsInvalid", Message: "expired", SenderFault: true };
    proxy.interfere(failEntries(({ ReceiptHandle }) => (ReceiptHandle === "old" ? stale : undefined)));
    expect(await queue.acknowledge(LANE, ["old", "other"])).toEqual([{ ok: true }, { ok: true }]);
    expect(await queue.hide(LANE, [{ receipt: "old", visibilityMs: 5_000 }])).toMatchObject([{ ok: false }]);
    expect(sizesOf()).toEqual([2, 1]);
  });

  test("keeps its place among many", async () => {
    const bodies = Array.from({ length: 47 }, (_, place) => `m${100 + place}`);
    const first = new Set(bodies.filter((_, place) => place % 5 === 0));
    proxy.interfere(failEntries(({ MessageBody = "" }) => (first.delete(MessageBody) ? INTERNAL : undefined)));
    expect(
      await queue.send(
        LOW,
        bodies.map((body) => ({ body })),
      ),
    ).toEqual(bodies.map(() => ({ ok: true })));
    proxy.interfere();
    expect(await receiveAll(LOW)).toEqual(bodies);
  });
});

describe("a call that fails as a whole", () => {
  test("fails each entry, and says which permission is missing", async () => {
    proxy.interfere(async () => jsonReply(403, { __type: "com.amazonaws.sqs#AccessDenied", message: "not you" }));
    const outcomes = await queue.send(
      LANE,
      Array.from({ length: 12 }, () => ({ body: "x" })),
    );
    expect(outcomes).toHaveLength(12);
    for (const outcome of outcomes) {
      expect(outcome).toMatchObject({ ok: false, error: { code: "PERMISSION_DENIED" } });
      expect(outcome.ok ? "" : outcome.error.message).toMatch(/sqs:SendMessage on .*"enqueue" grant/s);
    }
    await expect(queue.receive(LANE, { max: 1, waitMs: 0, visibilityMs: 0 })).rejects.toThrow(/"consume" grant/);
  });

  test("F50 says that the key cannot be used", async () => {
    for (const name of ["KmsAccessDenied", "KmsDisabled", "KmsInvalidState"]) {
      proxy.interfere(async () => jsonReply(400, { __type: `com.amazonaws.sqs#${name}`, message: "key" }));
      const [outcome] = await queue.send(LANE, [{ body: "x" }]);
      expect(outcome).toMatchObject({
        ok: false,
        error: { code: "PERMISSION_DENIED", fix: expect.stringContaining("key") },
      });
    }
    proxy.interfere(async () => jsonReply(400, { __type: "com.amazonaws.sqs#KmsThrottled", message: "key" }));
    await expect(queue.depth(LANE)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
  });

  test("is tried again by the SDK if the service failed", async () => {
    let left = 2;
    proxy.interfere((_, forward) => (left-- > 0 ? Promise.resolve(jsonReply(503, {})) : forward()));
    expect(await queue.send(LANE, [{ body: "third time" }])).toEqual([{ ok: true }]);
    proxy.interfere();
    expect(await receiveAll(LANE)).toEqual(["third time"]);
  });

  test("names a queue that does not exist", async () => {
    const lanes = { normal: { url: `${stack.endpoints.sqs}/000000000000/nowhere` } };
    const { backend: lost } = await connect({ ...topology, lanes }, undefined);
    const error = { code: "RESOURCE_MISSING", message: expect.stringContaining("/nowhere") };
    await expect(lost.queue.depth(LANE)).rejects.toMatchObject(error);
    expect(await lost.queue.send(LANE, [{ body: "x" }])).toMatchObject([{ ok: false, error }]);
    expect(await lost.queue.send({ lane: "normal", dead: true }, [{ body: "x" }])).toMatchObject([
      { ok: false, error: { code: "TOPOLOGY_INVALID" } },
    ]);
    lost.close();
  });

  test("says that nobody answers", async () => {
    const { backend: alone } = await connect({ ...topology, endpoint: "http://127.0.0.1:1" }, undefined);
    await expect(alone.queue.depth(LANE)).rejects.toMatchObject({ code: "BACKEND_UNAVAILABLE" });
    expect(await alone.queue.send(LANE, [{ body: "x" }])).toMatchObject([
      { ok: false, error: { code: "BACKEND_UNAVAILABLE" } },
    ]);
    alone.close();
  });
});

test("a receive waits longer than any other call may take", async () => {
  const began = performance.now();
  expect(await queue.receive({ lane: "critical" }, { max: 1, waitMs: 6_000, visibilityMs: 0 })).toEqual([]);
  expect(performance.now() - began).toBeGreaterThan(5_900);
  expect(proxy.count("ReceiveMessage")).toBe(1);
});

test("a receive whose signal was aborted before makes no call", async () => {
  const signal = AbortSignal.abort();
  expect(await queue.receive(LANE, { max: 1, waitMs: 20_000, visibilityMs: 0, signal })).toEqual([]);
  expect(proxy.calls).toEqual([]);
});

test("times out of sight are rounded up to whole seconds, delays down", async () => {
  await queue.send(LOW, [{ body: "x", delayMs: 1_999 }]);
  await queue.receive(LOW, { max: 1, waitMs: 0, visibilityMs: 1_001 });
  await queue.hide(LOW, [{ receipt: "any", visibilityMs: 2_001 }]);
  const bodies = proxy.calls.map(({ body }) => body.toString());
  expect(bodies[0]).toContain('"DelaySeconds":1}');
  expect(bodies[1]).toContain('"VisibilityTimeout":2');
  expect(bodies[2]).toContain('"VisibilityTimeout":3');
});
