import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import type { DeadLetter, Decoded, Envelope } from "../../../lib/task/envelope.ts";
import {
  decodeBody,
  encodeDeadLetter,
  encodeEnvelope,
  ENVELOPE_VERSION,
  isTaskId,
  markUnknownSince,
} from "../../../lib/task/envelope.ts";
import { SQS_MESSAGE_MAX_BYTES } from "../../../lib/task/limits.ts";
import { NAME_PATTERN } from "../../../lib/task/name.ts";
import { anyJson, anyName, anyTaskId, anyText, anyTime } from "./arbitraries.ts";

const ID = "0192f0c1a2b34c5d8e9fa0b1c2d3e4f5";
const plain: Envelope = {
  kind: "task",
  queue: "tasklane",
  id: ID,
  task: "send-receipt",
  epoch: 1,
  dueAt: 1_795_000_000_000,
  deferrals: 0,
  passedOver: false,
};

const anyEnvelope: fc.Arbitrary<Envelope> = fc.record(
  {
    kind: fc.constant("task" as const),
    queue: anyName,
    id: anyTaskId,
    task: anyName,
    epoch: fc.integer({ min: 1, max: 1_000 }),
    dueAt: anyTime,
    notBefore: anyTime,
    payload: fc.record({ codec: fc.constantFrom("json" as const, "zstd" as const), text: anyText }),
    slotUs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
    deferrals: fc.nat(),
    unknownSince: anyTime,
    passedOver: fc.boolean(),
    traceparent: anyText,
  },
  { requiredKeys: ["kind", "queue", "id", "task", "epoch", "dueAt", "deferrals", "passedOver"] },
);

const anyLetter: fc.Arbitrary<DeadLetter> = fc.record(
  {
    kind: fc.constant("dead-letter" as const),
    queue: anyName,
    id: anyTaskId,
    task: anyName,
    epoch: fc.integer({ min: 1, max: 1_000 }),
    reason: anyText,
    message: anyText,
    diedAt: anyTime,
    payload: anyText,
    history: anyJson,
    meta: anyJson,
  },
  { requiredKeys: ["kind", "queue", "id", "task", "epoch", "reason", "message", "diedAt"] },
);

describe("F38 an envelope", () => {
  test("survives the queue with any payload text, in bytes that SQS accepts", () => {
    assert(
      fc.property(anyEnvelope, (envelope) => {
        const body = encodeEnvelope(envelope);
        expect(body).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeBody(body)).toEqual(envelope);
      }),
      { numRuns: 2_000 },
    );
  });

  test("of a dead letter survives too", () => {
    assert(
      fc.property(anyLetter, (letter) => {
        const body = encodeDeadLetter(letter);
        expect(body).toMatch(/^[\x20-\x7e]*$/);
        expect(decodeBody(body)).toEqual(letter);
      }),
      { numRuns: 2_000 },
    );
  });
});

describe("an envelope", () => {
  test("is small: what is not there takes no room", () => {
    expect(encodeEnvelope(plain)).toBe(
      `{"v":1,"q":"tasklane","id":"${ID}","t":"send-receipt","e":1,"due":1795000000000}`,
    );
  });

  test("names its queue and its version", () => {
    expect(JSON.parse(encodeEnvelope(plain))).toMatchObject({ v: ENVELOPE_VERSION, q: "tasklane" });
  });
});

/* The bodies that version 1 wrote. They lie in queues while a deploy rolls: never change them, only add. */
const GOLDEN: readonly (readonly [string, Decoded])[] = [
  [`{"v":1,"q":"tasklane","id":"${ID}","t":"send-receipt","e":1,"due":1795000000000}`, plain],
  [
    `{"v":1,"q":"tasklane","id":"${ID}","t":"send-receipt","e":2,"due":1795000000000,"p":"{\\"to\\":\\"a@b\\"}","n":1795000000005,"slot":1795000000123456,"d":3,"u":1795000000001,"s":1,"tp":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}`,
    {
      ...plain,
      epoch: 2,
      payload: { codec: "json", text: '{"to":"a@b"}' },
      notBefore: 1_795_000_000_005,
      slotUs: 1_795_000_000_123_456,
      deferrals: 3,
      unknownSince: 1_795_000_000_001,
      passedOver: true,
      traceparent: "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    },
  ],
  [
    `{"v":1,"q":"tasklane","id":"${ID}","t":"send-receipt","e":1,"due":1795000000000,"pz":"KLUv/SQ="}`,
    { ...plain, payload: { codec: "zstd", text: "KLUv/SQ=" } },
  ],
  [
    `{"v":1,"q":"tasklane","id":"${ID}","t":"send-receipt","e":1,"dead":{"reason":"TIMEOUT","message":"too slow","at":1795000000009},"p":"{}","history":[{"attempt":1}],"meta":{"by":"shop"}}`,
    {
      kind: "dead-letter",
      queue: "tasklane",
      id: ID,
      task: "send-receipt",
      epoch: 1,
      reason: "TIMEOUT",
      message: "too slow",
      diedAt: 1_795_000_000_009,
      payload: "{}",
      history: [{ attempt: 1 }],
      meta: { by: "shop" },
    },
  ],
];

describe("F44 an envelope of another release", () => {
  test.each(GOLDEN)("of version 1 is read as it was written: %s", (body, expected) => {
    expect(decodeBody(body)).toEqual(expected);
  });

  test.each(GOLDEN)("with a field that this release does not know is read without it: %s", (body, expected) => {
    expect(decodeBody(body.replace('{"v":1', '{"later":{"a":[1]},"v":1'))).toEqual(expected);
  });

  test("of a newer version is told by its head alone, whatever else it became", () => {
    const head = { queue: "tasklane", id: ID, task: "send-receipt" };
    const body = `{"v":2,"q":"tasklane","id":"${ID}","t":"send-receipt","e":"now a text","due":null,"payload":{"new":[]}}`;
    expect(decodeBody(body)).toEqual({ kind: "newer", ...head });
    expect(decodeBody(body.replace('"v":2', '"v":9007199254740993'))).toMatchObject({ kind: "newer" });
    expect(decodeBody(body.replace('"v":2', '"v":2,"u":5'))).toEqual({ kind: "newer", ...head, unknownSince: 5 });
  });

  test("keeps all it holds when it is marked as unknown, of any version", () => {
    assert(
      fc.property(anyJson, anyTime, (extra, at) => {
        const body = `{"v":7,"q":"tasklane","id":"${ID}","t":"send-receipt","x":${JSON.stringify(extra)}}`;
        const marked = markUnknownSince(body, at);
        expect(JSON.parse(marked)).toEqual({ ...(JSON.parse(body) as object), u: at });
        expect(decodeBody(marked)).toMatchObject({ kind: "newer", unknownSince: at });
        expect(marked).toMatch(/^[\x20-\x7e]*$/);
      }),
    );
  });

  test("is marked with the first time or a later one, as the caller says", () => {
    const once = markUnknownSince(encodeEnvelope(plain), 5);
    expect(decodeBody(once)).toEqual({ ...plain, unknownSince: 5 });
    expect(decodeBody(markUnknownSince(once, 6))).toEqual({ ...plain, unknownSince: 6 });
  });

  test("that cannot be read is left as it is", () => {
    for (const body of ["", "garbage", "[]", '{"__proto__":1}', "7"]) expect(markUnknownSince(body, 5)).toBe(body);
  });
});

describe("F10 a body from anybody", () => {
  test.each([
    ["nothing", ""],
    ["a text", "hello"],
    ["a JSON text", '"hello"'],
    ["null", "null"],
    ["an array", "[]"],
    ["an empty object", "{}"],
    ["an S3 event", '{"Records":[{"eventSource":"aws:s3","s3":{"bucket":{"name":"b"}}}]}'],
    ["an SNS notification", '{"Type":"Notification","MessageId":"x","Message":"{}"}'],
    [
      "a pointer of the extended client",
      '["software.amazon.payloadoffloading.PayloadS3Pointer",{"s3BucketName":"b","s3Key":"k"}]',
    ],
    ["XML", "<a/>"],
    ["a depth of 50,000", `${'{"v":'.repeat(50_000)}1${"}".repeat(50_000)}`],
    ["a prototype", encodeEnvelope(plain).replace("{", '{"__proto__":{"v":1},')],
    ["an escaped prototype", encodeEnvelope(plain).replace("{", '{"\\u005f\\u005fproto\\u005f\\u005f":{"v":1},')],
    ["constructor.prototype", encodeEnvelope(plain).replace("{", '{"constructor":{"prototype":{"v":1}},')],
    ["only a prototype's fields", '{"__proto__":{"v":1,"q":"a","id":"0123456789abcdef","t":"a","e":1,"due":1}}'],
  ])("that is %s is undecodable, with a reason", (_, body) => {
    expect(decodeBody(body)).toEqual({ kind: "undecodable", reason: expect.stringMatching(/./) });
  });

  const junk = [
    undefined,
    null,
    true,
    "",
    "x",
    -1,
    0.5,
    1e300,
    [],
    {},
    ["a"],
    { a: 1 },
    "a b",
    "A",
    "../..",
    "a".repeat(65),
    2 ** 53,
  ];
  test.each([
    ["v", [...junk.filter((value) => value !== 1e300 && value !== 2 ** 53), 0, "1", [1]]],
    ["q", junk.filter((value) => value !== "x")],
    ["id", [...junk, "short", "id with a blank here", "a/b".repeat(8), `${ID}\n`, "..".repeat(10)]],
    ["t", junk.filter((value) => value !== "x")],
    ["e", [...junk, 0, "1"]],
    ["due", [...junk, "1795000000000"]],
    ["n", junk.filter((value) => value !== undefined)],
    ["slot", junk.filter((value) => value !== undefined)],
    ["d", junk.filter((value) => value !== undefined)],
    ["u", junk.filter((value) => value !== undefined)],
    ["p", [null, true, 1, [], {}]],
    ["pz", [null, true, 1, [], {}]],
    ["tp", [null, true, 1, [], {}]],
    [
      "dead",
      [
        null,
        true,
        1,
        "x",
        [],
        {},
        { reason: 1, message: "m", at: 1 },
        { reason: "r", at: 1 },
        { reason: "r", message: "m", at: -1 },
        { reason: "r", message: "m" },
      ],
    ],
  ])("with a wrong %s is undecodable", (field, values) => {
    for (const value of values) {
      const body = JSON.stringify({ ...(JSON.parse(encodeEnvelope(plain)) as object), [field]: value });
      expect({ body, ...decodeBody(body) }).toMatchObject({ body, kind: "undecodable" });
    }
  });

  test("is read up to the size of an SQS message, and refused one byte above", () => {
    const empty = encodeEnvelope({ ...plain, payload: { codec: "json", text: "" } });
    const text = "x".repeat(SQS_MESSAGE_MAX_BYTES - empty.length);
    const full = encodeEnvelope({ ...plain, payload: { codec: "json", text } });
    expect(full).toHaveLength(SQS_MESSAGE_MAX_BYTES);
    expect(decodeBody(full)).toEqual({ ...plain, payload: { codec: "json", text } });
    const above = encodeEnvelope({ ...plain, payload: { codec: "json", text: `${text}x` } });
    expect(decodeBody(above)).toMatchObject({ kind: "undecodable", reason: expect.stringContaining("longer") });
  });

  test("never throws and never yields anything outside its type, over 100,000 mutations", () => {
    const seed = 20_261_124;
    const chance = mulberry32(seed);
    const kinds: Record<string, number> = {};
    for (let round = 0; round < 100_000; round++) {
      const body = mutate(round % 2 === 0 ? mutateFields(chance) : pick(GOLDEN, chance)[0], chance);
      let decoded: Decoded;
      try {
        decoded = decodeBody(body);
      } catch (error) {
        throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(body)} threw`, { cause: error });
      }
      const wrong = whatIsWrong(decoded);
      if (wrong !== undefined)
        throw new Error(`seed ${seed}, round ${round}: ${JSON.stringify(body)} has a wrong ${wrong}`);
      kinds[decoded.kind] = (kinds[decoded.kind] ?? 0) + 1;
    }
    // The mutations have to reach every branch, or they prove little.
    for (const kind of ["task", "dead-letter", "newer", "undecodable"]) expect(kinds[kind]).toBeGreaterThan(300);
    expect(Reflect.ownKeys(Object.prototype)).not.toContain("polluted");
    expect(({} as { v?: unknown }).v).toBeUndefined();
  });

  test("made of any text never throws", () => {
    assert(
      fc.property(anyText, (text) => whatIsWrong(decodeBody(text)) === undefined),
      { numRuns: 2_000 },
    );
  });
});

test("a task id is 16 to 64 characters that are safe in keys", () => {
  expect(["a".repeat(16), ID, "A-_0".repeat(16)].map(isTaskId)).toEqual([true, true, true]);
  expect(
    [
      "a".repeat(15),
      "a".repeat(65),
      `${ID}/`,
      `${ID}\n`,
      "..".repeat(8),
      "é".repeat(20),
      1,
      null,
      undefined,
      [ID],
    ].filter(isTaskId),
  ).toEqual([]);
});

function whatIsWrong(decoded: Decoded): string | undefined {
  if (decoded.kind === "undecodable")
    return typeof decoded.reason === "string" && decoded.reason !== "" ? undefined : "reason";
  const isTime = (value: unknown) => Number.isSafeInteger(value) && (value as number) >= 0;
  const isMissingOr = (check: (value: unknown) => boolean) => (value: unknown) => value === undefined || check(value);
  const isText = (value: unknown) => typeof value === "string";
  const checks: Record<string, (value: unknown) => boolean> = {
    queue: (value) => NAME_PATTERN.test(String(value)) && isText(value),
    task: (value) => NAME_PATTERN.test(String(value)) && isText(value),
    id: isTaskId,
    epoch: (value) => decoded.kind === "newer" || (Number.isSafeInteger(value) && (value as number) >= 1),
    unknownSince: isMissingOr(isTime),
  };
  if (decoded.kind === "task")
    Object.assign(checks, {
      dueAt: isTime,
      deferrals: isTime,
      slotUs: isMissingOr(isTime),
      notBefore: isMissingOr(isTime),
      passedOver: (value: unknown) => typeof value === "boolean",
      traceparent: isMissingOr(isText),
      payload: isMissingOr((value) => {
        const { codec, text } = value as { codec: unknown; text: unknown };
        return (codec === "json" || codec === "zstd") && isText(text);
      }),
    });
  if (decoded.kind === "dead-letter")
    Object.assign(checks, { reason: isText, message: isText, diedAt: isTime, payload: isMissingOr(isText) });
  const fields: Record<string, unknown> = { ...decoded };
  return Object.keys(checks).find((name) => !checks[name]?.(fields[name]));
}

const JUNK_VALUES = [
  "null",
  "true",
  "-1",
  "0",
  "1",
  "2",
  "1.5",
  "1e400",
  "9007199254740993",
  '""',
  '"x"',
  '"__proto__"',
  "[]",
  "{}",
  '{"__proto__":{"polluted":1}}',
  '{"constructor":{"prototype":{"polluted":1}}}',
  `"${ID}"`,
  '"a/b"',
  '{"reason":"r","message":"m","at":1}',
  "[[[[]]]]",
  '"\\ud800"',
];
const FIELDS = [
  "v",
  "q",
  "id",
  "t",
  "e",
  "due",
  "p",
  "pz",
  "slot",
  "n",
  "d",
  "u",
  "s",
  "tp",
  "dead",
  "history",
  "meta",
  "__proto__",
  "\\u005f_proto__",
  "constructor",
];
const PIECES = [
  "{",
  "}",
  "[",
  "]",
  '"',
  "\\",
  ":",
  ",",
  "\u0000",
  "\ud800",
  "é",
  "\uffff",
  '"__proto__":',
  '"v":2,',
  "9",
  "-",
  "e9",
  " ",
  "\n",
];

/** A body of version 1 or 2 in which some fields have another value, are gone, or come twice. */
function mutateFields(chance: () => number): string {
  const fields = Object.entries(JSON.parse(pick(GOLDEN, chance)[0]) as object).map(
    ([name, value]) => [name, JSON.stringify(value)] as [string, string],
  );
  if (chance() < 0.1) fields.push(["v", "2"]);
  for (let change = Math.floor(chance() * 4); change > 0; change--) {
    const place = Math.floor(chance() * fields.length);
    const kind = chance();
    if (kind < 0.2) fields.splice(place, 1);
    else if (kind < 0.6) fields.push([pick(FIELDS, chance), pick(JUNK_VALUES, chance)]);
    else if (fields[place]) fields[place] = [fields[place][0], pick(JUNK_VALUES, chance)];
  }
  return `{${fields.map(([name, value]) => `"${name}":${value}`).join(",")}}`;
}

/** A body with a few characters deleted, doubled or put in; every other one is left as it is. */
function mutate(body: string, chance: () => number): string {
  let text = body;
  for (let change = Math.floor(chance() * 4) - 1; change > 0; change--) {
    const place = Math.floor(chance() * (text.length + 1));
    const end = place + Math.floor(chance() * 6);
    text =
      text.slice(0, place) +
      (chance() < 0.5 ? pick(PIECES, chance) : text.slice(place, end).repeat(2)) +
      text.slice(end);
  }
  return text;
}

function pick<T>(from: readonly T[], chance: () => number): T {
  return from[Math.floor(chance() * from.length)] as T;
}

/** A small generator with a seed, so that a failing round can be run again. */
function mulberry32(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
