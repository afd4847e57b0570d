import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { asciiJson, parseUntrustedJson } from "../../../lib/task/json.ts";
import { JSON_MAX_DEPTH } from "../../../lib/task/limits.ts";
import { anyJson, anyText } from "./arbitraries.ts";

const LARGE = 1_048_576;
/** The reader allows what a dead letter adds around a context of full depth. */
const TEXT_DEPTH = JSON_MAX_DEPTH + 2;

describe("F10 JSON from anybody", () => {
  test("is read if it is of the right size, and refused one character above", () => {
    const text = JSON.stringify("x".repeat(98));
    expect(text).toHaveLength(100);
    expect(parseUntrustedJson(text, 100)).toEqual({ ok: true, value: "x".repeat(98) });
    expect(parseUntrustedJson(text, 99)).toEqual({ ok: false, reason: "longer than 99 characters" });
  });

  test("is read down to a depth, and refused one level below", () => {
    for (const [open, close] of [
      ["[", "]"],
      ['{"a":', "}"],
    ] as const) {
      const deep = (levels: number) => `${open.repeat(levels)}1${close.repeat(levels)}`;
      expect(parseUntrustedJson(deep(TEXT_DEPTH), LARGE).ok).toBe(true);
      expect(parseUntrustedJson(deep(TEXT_DEPTH + 1), LARGE)).toMatchObject({
        ok: false,
        reason: expect.stringContaining("deeper"),
      });
    }
  });

  test("of a depth of 50,000 is refused before it is parsed, in no time", () => {
    const started = performance.now();
    for (const text of [
      "[".repeat(50_000) + "]".repeat(50_000),
      '{"a":'.repeat(50_000),
      "[".repeat(LARGE),
      `${"[]".repeat(50_000)}${"[".repeat(50_000)}`,
    ])
      expect(parseUntrustedJson(text, LARGE)).toMatchObject({ ok: false });
    expect(performance.now() - started).toBeLessThan(5_000);
  });

  test("may hold any brackets in its texts, and be wide", () => {
    expect(parseUntrustedJson(JSON.stringify({ a: "[".repeat(1_000), b: '"{[\\"' }), LARGE).ok).toBe(true);
    expect(parseUntrustedJson(`[${"[],{},".repeat(10_000)}[]]`, LARGE).ok).toBe(true);
  });

  test.each(protoKeys())("is refused for the key %s", (key) => {
    expect(JSON.parse(key)).toBe("__proto__");
    for (const text of [
      `{${key}:1}`,
      `{${key} \t\r\n:{"polluted":true}}`,
      `[{"a":{"b":[{${key}:{}}]}}]`,
      `{"a":"\\\\",${key}:1}`,
      `{"a":"\\"",${key}:1}`,
    ])
      expect(parseUntrustedJson(text, LARGE)).toEqual({ ok: false, reason: "a key that could change a prototype" });
  });

  test.each([
    '{"constructor":{"prototype":{"polluted":true}}}',
    '{"constructor":{"a":1,"prototype":1}}',
    '{"constructor":{"a":{},"b":[{}],"prototype":1}}',
    '{"constructor" : { "prototype" :1}}',
    '{"\\u0063onstructor":{"prototyp\\u0065":1}}',
    '[{"a":{"constructor":{"prototype":1}}}]',
  ])("is refused for constructor.prototype in %s", (text) => {
    expect(parseUntrustedJson(text, LARGE)).toEqual({ ok: false, reason: "a key that could change a prototype" });
  });

  test.each([
    '{"a":"__proto__"}',
    '["__proto__","constructor","prototype"]',
    '{"__proto":1,"proto__":1,"__PROTO__":1,"__proto__ ":1}',
    '{"constructor":"Acme","prototype":1}',
    '{"constructor":{"name":"Acme"},"prototype":1}',
    '{"constructor":[{"prototype":1}]}',
    '[{"constructor":1},{"prototype":1}]',
    '[{"constructor":[1]},{"prototype":1}]',
    '{"constructor":{"a":{"prototype":1}}}',
    '{"a":"x\\",\\"__proto__\\":1"}',
    '{"constructor":"x","b":{"prototype":1}}',
  ])("is read though it holds words that are harmless where they stand: %s", (text) => {
    expect(parseUntrustedJson(text, LARGE)).toEqual({ ok: true, value: JSON.parse(text) });
  });

  test.each([
    "",
    " ",
    "{",
    "}",
    "]]]]",
    '"',
    '"\\',
    '"\\"',
    "{]",
    "nul",
    "01",
    "{a:1}",
    "\u0000",
    "\ufeff{}",
    "{}{}",
    "NaN",
    "'a'",
    '{"a"}',
    '{"\\x":1}',
    '{"\\u00":1}',
  ])("is refused if it is no JSON: %j", (text) => {
    expect(parseUntrustedJson(text, LARGE)).toEqual({ ok: false, reason: "not JSON" });
  });

  test("is read as JSON.parse reads it, or refused; nothing is thrown and no prototype is changed", () => {
    const fragments = fc.constantFrom(
      "{",
      "}",
      "[",
      "]",
      ":",
      ",",
      '"',
      "\\",
      '"__proto__"',
      '"\\u005f_proto__"',
      '"constructor"',
      '"prototype"',
      "1",
      "null",
      " ",
      "\\u0022",
      "é",
      "\ud800",
    );
    assert(
      fc.property(
        fc.oneof(
          fc.array(fragments, { maxLength: 30 }).map((parts) => parts.join("")),
          anyText,
        ),
        (text) => {
          const read = parseUntrustedJson(text, LARGE);
          const reason = expect.stringMatching(/^not JSON$|prototype/);
          expect(read).toEqual(read.ok ? { ok: true, value: JSON.parse(text) } : { ok: false, reason });
          expect(Reflect.ownKeys(Object.prototype)).not.toContain("polluted");
        },
      ),
      { numRuns: 3_000 },
    );
  });

  test("is looked through in linear time", () => {
    const started = performance.now();
    const blanks = " ".repeat(200);
    for (const text of [
      `[${`"a"${blanks},`.repeat(5_000)}1]`,
      `["${"\\\\".repeat(500_000)}"]`,
      `{"${"\\u0061".repeat(150_000)}":1}`,
      `"${"\\".repeat(LARGE - 2)}`,
    ])
      parseUntrustedJson(text, 2 * LARGE);
    expect(performance.now() - started).toBeLessThan(5_000);
  });
});

describe("F38 ASCII JSON", () => {
  test("carries any text there and back, in bytes that SQS accepts", () => {
    assert(
      fc.property(anyText, (text) => {
        const body = asciiJson(text);
        return JSON.parse(body) === text && isAccepted(body);
      }),
      { numRuns: 3_000 },
    );
  });

  test("carries every single UTF-16 unit there and back, lone surrogates and non-characters among them", () => {
    const changed: string[] = [];
    for (let unit = 0; unit <= 0xffff; unit++) {
      const text = String.fromCharCode(unit);
      const body = asciiJson({ [text]: text });
      const read = JSON.parse(body) as Record<string, string>;
      if (!isAccepted(body) || read[text] !== text) changed.push(body);
    }
    expect(changed).toEqual([]);
  });

  test("carries any value there and back", () => {
    assert(
      fc.property(anyJson, (value) => {
        expect(JSON.parse(asciiJson(value))).toEqual(value);
      }),
    );
  });

  test("leaves plain text as it is", () => {
    expect(asciiJson({ a: "b c~" })).toBe('{"a":"b c~"}');
    expect(asciiJson("é\uffff\u007f")).toBe('"\\u00e9\\uffff\\u007f"');
  });
});

/** Every way in which one or all characters of the key may be escaped. */
function protoKeys(): string[] {
  const chars = [..."__proto__"];
  const escape = (char: string, isUpper: boolean) => {
    const hex = char.charCodeAt(0).toString(16).padStart(4, "0");
    return `\\u${isUpper ? hex.toUpperCase() : hex}`;
  };
  const single = chars.map((_, place) => chars.map((char, at) => (at === place ? escape(char, false) : char)).join(""));
  const all = [false, true].map((isUpper) => chars.map((char) => escape(char, isUpper)).join(""));
  return ["__proto__", ...single, ...all].map((key) => `"${key}"`);
}

/** SQS accepts #x9, #xA, #xD, #x20 to #xD7FF, #xE000 to #xFFFD and #x10000 to #x10FFFF; of those we send printable ASCII. */
function isAccepted(body: string): boolean {
  return /^[\x20-\x7e]*$/.test(body);
}
