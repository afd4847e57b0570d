import { describe, expect, test } from "vitest";
import { LANES } from "../../../lib/task/lane.ts";
import type { Topology } from "../../../lib/task/topology.ts";
import { carrierOf, deployedLanes, parseTopology, resourceNames, settleSpec } from "../../../lib/task/topology.ts";
import { fullText, refusalOf } from "./refusal.ts";

const URL_BASE = "https://sqs.ap-southeast-2.amazonaws.com/123456789012";

/** What a producer is given, with names as CloudFormation makes them. */
const producer: Topology = {
  queue: "shop-production",
  region: "ap-southeast-2",
  lanes: {
    critical: { url: `${URL_BASE}/shop-production-critical` },
    high: { url: `${URL_BASE}/shop-production-high` },
    normal: { url: `${URL_BASE}/shop-production-normal`, maxBacklog: 1_000_000 },
    low: { url: `${URL_BASE}/shop-production-low`, maxBacklog: 5_000_000 },
  },
  table: "ShopProductionStack-TasksLedger0A1B2C3D-1XYZ2ABC3DEF4",
  bucket: "shopproductionstack-taskspayloads5e6f7a8b-0abcdefghijk",
};

const full: Topology = {
  ...producer,
  endpoint: "http://127.0.0.1:4566",
  lanes: { normal: { url: `${URL_BASE}/n`, dlq: `${URL_BASE}/n-dlq`, maxBacklog: 5 }, low: { url: `${URL_BASE}/l` } },
};

describe("a topology", () => {
  test.each([
    ["a producer's", producer],
    ["a worker's, with endpoint and dead letter queues", full],
    [
      "one with an endpoint for each service",
      { ...full, endpoint: { sqs: "http://a", dynamodb: "http://b", s3: "http://c" } },
    ],
    ["the least", { queue: "a", lanes: { normal: { url: "u" } }, table: "t", bucket: "b" }],
  ] as const)("is read from its own form: %s", (_, topology) => {
    expect(parseTopology(JSON.stringify(topology), "TASKLANE_TOPOLOGY")).toEqual(topology);
  });

  test("is read from a cdk outputs file, in which it is a text or an object", () => {
    for (const value of [JSON.stringify(full), full]) {
      const outputs = {
        OtherStack: { Url: "https://x", lanes2: "no" },
        ShopStack: { ApiUrl: "https://y", TasksTopology: value },
      };
      expect(parseTopology(JSON.stringify(outputs, undefined, 2), "outputs.json")).toEqual(full);
    }
  });

  test("is the queue's that is meant, where a cdk outputs file has several", () => {
    const mail = { ...full, queue: "mail" };
    const outputs = JSON.stringify({
      Shop: { TasksTopology: JSON.stringify(full), MailTopology: JSON.stringify(mail) },
    });
    expect(parseTopology(outputs, "outputs.json", "mail")).toEqual(mail);
    const unnamed = refusalOf(() => parseTopology(outputs, "outputs.json"));
    expect(unnamed.code).toBe("TOPOLOGY_INVALID");
    expect(unnamed.message).toMatch(/more than one queue\..*"mail".*Fix: name it by the option queue/s);
    const wrong = refusalOf(() => parseTopology(outputs, "outputs.json", "nobody's"));
    expect(wrong.code).toBe("TOPOLOGY_MISSING");
    expect(wrong.message).toMatch(/another queue.*"mail".*Expected: nobody's/s);
  });

  test("is refused, where a cdk outputs file has two queues of its name", () => {
    const outputs = JSON.stringify({ Staging: { T: JSON.stringify(full) }, Prod: { T: { ...full, table: "prod" } } });
    for (const queue of [undefined, full.queue]) {
      const error = refusalOf(() => parseTopology(outputs, "outputs.json", queue));
      expect(error.code).toBe("TOPOLOGY_INVALID");
      expect(error.message).toMatch(/of queue "shop-production" in outputs.json that differ.*of tables .* and prod/s);
    }
  });

  test("is one, although a cdk outputs file has it twice", () => {
    const outputs = JSON.stringify({ Shop: { A: JSON.stringify(full), B: full } });
    expect(parseTopology(outputs, "outputs.json")).toEqual(full);
  });

  test("of a producer is at most 700 bytes with real URLs and four lanes", () => {
    expect(Buffer.byteLength(JSON.stringify(producer))).toBeLessThanOrEqual(700);
  });

  test("drops what it does not know, and what is of no use", () => {
    const odd = {
      ...full,
      extra: 1,
      region: 5,
      endpoint: null,
      lanes: { normal: { url: "u", dlq: 5, maxBacklog: -1, more: 1 } },
    };
    expect(parseTopology(JSON.stringify(odd), "x")).toEqual({
      queue: full.queue,
      table: full.table,
      bucket: full.bucket,
      lanes: { normal: { url: "u" } },
    });
  });

  test.each([
    ["nothing", ""],
    ["no JSON", "tasklane.json"],
    ["null", "null"],
    ["an array", "[]"],
    ["an empty object", "{}"],
    ["a text of a text", JSON.stringify(JSON.stringify(full))],
    ["no queue", JSON.stringify({ ...full, queue: undefined })],
    ["a queue that is no name", JSON.stringify({ ...full, queue: "My Queue" })],
    ["a queue that is a number", JSON.stringify({ ...full, queue: 5 })],
    ["no table", JSON.stringify({ ...full, table: undefined })],
    ["a bucket that is a list", JSON.stringify({ ...full, bucket: [] })],
    ["no normal lane", JSON.stringify({ ...full, lanes: { high: { url: "u" } } })],
    ["no lanes at all", JSON.stringify({ ...full, lanes: {} })],
    ["lanes as a list", JSON.stringify({ ...full, lanes: ["u"] })],
    ["lanes as null", JSON.stringify({ ...full, lanes: null })],
    ["an unknown lane", JSON.stringify({ ...full, lanes: { ...full.lanes, urgent: { url: "u" } } })],
    ["a lane that is a text", JSON.stringify({ ...full, lanes: { normal: "u" } })],
    ["a lane that is null", JSON.stringify({ ...full, lanes: { normal: null } })],
    ["a lane without its URL", JSON.stringify({ ...full, lanes: { normal: {} } })],
    ["a prototype", JSON.stringify(full).replace("{", '{"__proto__":{"lanes":{}},')],
    [
      "a prototype in the text of an output",
      JSON.stringify({ S: { T: JSON.stringify(full).replace("{", '{"__proto__":{},') } }),
    ],
    ["lanes called constructor", JSON.stringify({ ...full, lanes: { ...full.lanes, constructor: { url: "u" } } })],
    ["a depth of 50,000", '{"lanes":'.repeat(50_000)],
    [
      "texts in texts in texts",
      JSON.stringify({ a: { b: JSON.stringify({ lanes: JSON.stringify({ a: { lanes: full } }) }) } }),
    ],
    ["a topology that lies too deep", JSON.stringify({ a: { b: { c: { d: { e: full } } } } })],
    ["more than a million characters", JSON.stringify({ pad: "x".repeat(1_000_000), ...full })],
  ])("that is %s is refused with its source and the fix", (_, json) => {
    const error = refusalOf(() => parseTopology(json, "the variable TASKLANE_TOPOLOGY"));
    expect(error.code).toBe("TOPOLOGY_INVALID");
    expect(error.message).toContain("The topology in the variable TASKLANE_TOPOLOGY cannot be read");
    expect(error.message).toMatch(/Expected: .*"lanes".* Fix: .*provision\(\)/);
  });

  test.each([
    ["for a part of the services: the others would be AWS's", { sqs: "http://a" }],
    ["without http://", "localhost:4566"],
    ["of which one is without http://", { sqs: "http://a", dynamodb: "http://a", s3: "127.0.0.1:4566" }],
  ])("with an endpoint %s is refused, also where another queue beside it has none", (_, endpoint) => {
    const json = JSON.stringify({ Shop: { A: { ...full, endpoint }, B: { ...full, queue: "mail" } } });
    for (const queue of [undefined, full.queue]) {
      const error = refusalOf(() => parseTopology(json, "outputs.json", queue));
      expect(error.code).toBe("TOPOLOGY_INVALID");
      expect(error.message).toMatch(
        queue === undefined ? /more than one queue/ : /endpoint of queue "shop-production" in outputs\.json.*http:\/\//,
      );
    }
    expect(parseTopology(json, "outputs.json", "mail").queue).toBe("mail");
  });

  test("carries a lane that is not deployed in the normal one", () => {
    expect(LANES.map((lane) => carrierOf(full, lane))).toEqual(["normal", "normal", "normal", "low"]);
    expect(deployedLanes(full)).toEqual(["normal", "low"]);
    expect(deployedLanes(producer)).toEqual(LANES);
  });
});

describe("a topology spec", () => {
  test("has all lanes and a million tasks in each by default", () => {
    const million = 1_000_000;
    expect(settleSpec()).toEqual({
      queue: "tasklane",
      lanes: LANES,
      maxBacklog: { critical: million, high: million, normal: million, low: million },
    });
  });

  test("has its lanes in their order, however they were given", () => {
    expect(settleSpec({ queue: "shop", lanes: ["low", "normal", "critical"] }).lanes).toEqual([
      "critical",
      "normal",
      "low",
    ]);
  });

  test("takes one limit for all lanes, or some of their own", () => {
    expect(settleSpec({ maxBacklog: 7 }).maxBacklog).toEqual({ critical: 7, high: 7, normal: 7, low: 7 });
    expect(settleSpec({ maxBacklog: { low: 7 } }).maxBacklog).toMatchObject({ low: 7, high: 1_000_000 });
  });

  test.each([
    [{ queue: "My Queue" }],
    [{ queue: "" }],
    [{ lanes: [] }],
    [{ lanes: ["high"] }],
    [{ lanes: ["normal", "urgent"] }],
    [{ maxBacklog: 0 }],
    [{ maxBacklog: 1.5 }],
    [{ maxBacklog: Number.NaN }],
    [{ maxBacklog: { low: -1 } }],
    [{ maxBacklog: { low: "5" } }],
  ])("that cannot be deployed is refused: %j", (spec) => {
    expect(refusalOf(() => settleSpec(spec as never))).toMatchObject(fullText("DEFINITION_INVALID"));
  });
});

describe("the names of resources", () => {
  const names = ["a", "tasklane", "shop.production", "shop_production-", "9", "a".repeat(64), "z.".repeat(32)];

  test.each(names)("of the queue %s are legal in AWS", (queue) => {
    const resources = resourceNames(queue);
    expect(resources.table).toMatch(/^[a-zA-Z0-9_.-]{3,255}$/);
    for (const lane of LANES) {
      expect(resources.lane(lane)).toMatch(/^[a-zA-Z0-9_-]{1,80}$/);
      expect(resources.dlq(lane)).toMatch(/^[a-zA-Z0-9_-]{1,80}$/);
    }
    for (const suffix of ["", "123456789012-ap-southeast-2", "x"])
      expect(resources.bucket(suffix)).toMatch(/^[a-z0-9][a-z0-9-]{1,61}[a-z0-9]$/);
  });

  test("are told apart by lane, by kind, and by the bucket's suffix, however long the queue's name is", () => {
    for (const queue of names) {
      const resources = resourceNames(queue);
      const all = LANES.flatMap((lane) => [resources.lane(lane), resources.dlq(lane)]);
      expect(new Set(all).size).toBe(8);
      expect(resources.bucket("123456789012")).not.toBe(resources.bucket("210987654321"));
    }
  });
});
