import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { TasklaneError } from "../../../lib/task/errors.ts";
import { canonicalJson, parseUntrustedJson, utf8Bytes } from "../../../lib/task/json.ts";
import { JSON_MAX_DEPTH } from "../../../lib/task/limits.ts";
import { anyJson, anyText } from "./arbitraries.ts";
import { refusalOf } from "./refusal.ts";

describe("canonical JSON", () => {
  test("has its keys sorted at every level, no blanks, and arrays in their order", () => {
    expect(canonicalJson({ b: 1, a: { d: [3, 1, 2], c: null } }, "input")).toBe('{"a":{"c":null,"d":[3,1,2]},"b":1}');
  });

  test("leaves out what is undefined, as JSON does", () => {
    expect(canonicalJson({ a: undefined, b: 1 }, "input")).toBe('{"b":1}');
  });

  test("takes objects without a prototype, and of another realm", async () => {
    const { runInNewContext } = await import("node:vm");
    expect(canonicalJson(Object.assign(Object.create(null) as object, { a: 1 }), "input")).toBe('{"a":1}');
    expect(canonicalJson(runInNewContext("({ a: [1, { b: 2 }] })"), "input")).toBe('{"a":[1,{"b":2}]}');
  });

  test("takes every JSON value at the top", () => {
    expect([null, true, 0, -1.5, 1e21, "ä", [], {}].map((value) => canonicalJson(value, "input"))).toEqual([
      "null",
      "true",
      "0",
      "-1.5",
      "1e+21",
      '"ä"',
      "[]",
      "{}",
    ]);
  });

  test("F30 is equal for equal inputs, in whatever order their keys come, so that the same key finds its duplicate", () => {
    assert(
      fc.property(anyJson, (value) => canonicalJson(value, "input") === canonicalJson(turnedRound(value), "input")),
    );
  });

  test("F30 differs for different inputs, so that the same key with another input is a conflict", () => {
    assert(
      fc.property(anyJson, anyJson, (one, other) => {
        const isSame = canonicalJson(one, "input") === canonicalJson(other, "input");
        return isSame === (JSON.stringify(sorted(one)) === JSON.stringify(sorted(other)));
      }),
    );
  });

  test("is what JSON.parse turns back into the value, and what the reader of untrusted text takes", () => {
    assert(
      fc.property(anyJson, (value) => {
        const text = canonicalJson(value, "input");
        expect(JSON.parse(text)).toEqual(value);
        expect(parseUntrustedJson(text, text.length)).toEqual({ ok: true, value });
      }),
    );
  });

  test.each([
    ["a date", { at: new Date(0) }, "at", "a Date", "toISOString"],
    ["a map", { items: [1, new Map()] }, "items.1", "a Map", "Object.fromEntries"],
    ["a set", new Set([1]), "", "a Set", "[...value]"],
    ["a big integer", { a: { b: 5n } }, "a.b", "a bigint", "as a string"],
    ["NaN", { price: Number.NaN }, "price", "NaN", "null"],
    ["infinity", [Number.NEGATIVE_INFINITY], "0", "-Infinity", "null"],
    ["undefined in an array", [1, undefined], "1", "undefined", "plain objects"],
    ["undefined at the top", undefined, "", "undefined", "plain objects"],
    ["a hole", { list: Object.assign(Array(3), { 0: 1, 2: 3 }) }, "list.1", "undefined", "plain objects"],
    ["a function", { run: () => 1 }, "run", "a function", "plain objects"],
    ["a method toJSON", { toJSON: () => 1 }, "toJSON", "a function", "plain objects"],
    ["a symbol", { s: Symbol("s") }, "s", "a symbol", "plain objects"],
    ["an instance of a class", { order: new (class Order {})() }, "order", "a Order", "plain objects"],
    ["an error", { e: new TypeError("x") }, "e", "a TypeError", "plain objects"],
    ["a URL", [new URL("https://a.b")], "0", "a URL", "plain objects"],
    ["bytes", { bytes: new Uint8Array(2) }, "bytes", "a Uint8Array", "plain objects"],
    ["a boxed text", { s: Object("x") as unknown }, "s", "a String", "plain objects"],
    ["a regular expression", /x/, "", "a RegExp", "plain objects"],
    ["a promise", Promise.resolve(1), "", "a Promise", "plain objects"],
    ["an instance of a class without a name", new (class {})(), "", "a ", "plain objects"],
    ["__proto__ as a key", JSON.parse('{"a":{"__proto__":{"x":1}}}'), "a.__proto__", "the key __proto__", "rename"],
    ["constructor.prototype", { constructor: { prototype: { x: 1 } } }, "constructor", "the key constructor", "rename"],
  ])("refuses %s with its path", (_, value, path, received, fix) => {
    const error = refusalOf(() => canonicalJson(value, 'input of task "a"'));
    expect(error.code).toBe("INPUT_NOT_JSON");
    expect(error.message).toContain('The input of task "a" holds a value that JSON cannot carry');
    expect(error.message.includes(`at "${path}"`)).toBe(path !== "");
    expect(error.message).toContain(`Received: "${received}`);
    expect(error.fix).toContain(fix);
  });

  test("takes the word constructor where it is harmless", () => {
    expect(canonicalJson({ constructor: "Acme", prototype: 1 }, "input")).toBe('{"constructor":"Acme","prototype":1}');
    expect(canonicalJson({ constructor: { name: "Acme" } }, "input")).toBe('{"constructor":{"name":"Acme"}}');
  });

  test("takes so many levels and not one more", () => {
    expect(canonicalJson(nested(JSON_MAX_DEPTH, 1), "input")).toContain("[1]");
    expect(canonicalJson(nestedObjects(JSON_MAX_DEPTH), "input")).toContain('"a":1');
    for (const deep of [
      nested(JSON_MAX_DEPTH + 1, 1),
      nested(JSON_MAX_DEPTH + 1),
      nestedObjects(JSON_MAX_DEPTH + 1),
      nested(50_000),
    ]) {
      const error = refusalOf(() => canonicalJson(deep, "input"));
      expect(error.code).toBe("INPUT_NOT_JSON");
      expect(error.message).toContain(`more than ${JSON_MAX_DEPTH} levels`);
    }
  });

  test("refuses a circle as a depth without end", () => {
    const value: { list: unknown[] } = { list: [] };
    value.list.push(value);
    expect(refusalOf(() => canonicalJson(value, "input")).fix).toContain("break the cycle");
  });

  test("takes the same object twice, which is no circle", () => {
    const shared = { a: 1 };
    expect(canonicalJson([shared, shared], "input")).toBe('[{"a":1},{"a":1}]');
  });

  test.each([
    ["a getter that throws", Object.defineProperty({}, "x", { get: throwing, enumerable: true })],
    ["a proxy that throws", new Proxy({}, { ownKeys: throwing, get: throwing, getPrototypeOf: throwing })],
    ["a proxy of an array that throws", new Proxy([1], { get: throwing })],
    ["a revoked proxy", revokedProxy()],
    ["an endless array", new Proxy([], { get: (_, key) => (key === "length" ? Number.MAX_SAFE_INTEGER : undefined) })],
    [
      "a class whose name throws",
      Object.create({
        get constructor() {
          return throwing();
        },
      }),
    ],
  ])("refuses %s with an error of its own", (_, value) => {
    expect(refusalOf(() => canonicalJson({ value }, "input")).code).toBe("INPUT_NOT_JSON");
  });

  test("never throws anything but a Tasklane error, whatever the value", () => {
    const anything = fc.anything({
      withBigInt: true,
      withDate: true,
      withMap: true,
      withSet: true,
      withNullPrototype: true,
      withSparseArray: true,
      withTypedArray: true,
      withBoxedValues: true,
      maxDepth: 4,
    });
    assert(
      fc.property(anything, (value) => {
        try {
          const text = canonicalJson(value, "input");
          expect(canonicalJson(JSON.parse(text), "input")).toBe(text);
        } catch (error) {
          if (!TasklaneError.is(error, "INPUT_NOT_JSON")) throw error;
        }
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("F37 the size of a text", () => {
  test("is its number of bytes in UTF-8, as Buffer counts them, for any text", () => {
    assert(
      fc.property(anyText, (text) => utf8Bytes(text) === Buffer.byteLength(text)),
      { numRuns: 2_000 },
    );
    assert(fc.property(fc.string({ unit: "binary" }), (text) => utf8Bytes(text) === Buffer.byteLength(text)));
  });

  test.each([
    ["", 0],
    ["a", 1],
    ["\u007f", 1],
    ["\u0080", 2],
    ["\u07ff", 2],
    ["\u0800", 3],
    ["\uffff", 3],
    ["😀", 4],
    ["\ud83d", 3],
    ["\ude00", 3],
    ["\ude00\ud83d", 6],
    ["\ud83d\ud83d\ude00", 7],
    ["a\ud83d", 4],
  ])("of %j is %i", (text, bytes) => {
    expect(utf8Bytes(text)).toBe(bytes);
    expect(Buffer.byteLength(text)).toBe(bytes);
  });
});

function turnedRound(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(turnedRound);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value)
      .toReversed()
      .map(([key, inner]) => [key, turnedRound(inner)]),
  );
}

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (typeof value !== "object" || value === null) return value;
  const entries = Object.entries(value).map(([key, inner]) => [key, sorted(inner)] as const);
  return { entries: entries.toSorted(([one], [other]) => (one < other ? -1 : 1)) };
}

function nested(levels: number, leaf?: number): unknown {
  let value: unknown[] = leaf === undefined ? [] : [leaf];
  for (let level = 1; level < levels; level++) value = [value];
  return value;
}

function nestedObjects(levels: number): unknown {
  let value: unknown = 1;
  for (let level = 0; level < levels; level++) value = { a: value };
  return value;
}

function throwing(): never {
  throw new Error("thrown on purpose");
}

function revokedProxy(): unknown {
  const { proxy, revoke } = Proxy.revocable({}, {});
  revoke();
  return proxy;
}
