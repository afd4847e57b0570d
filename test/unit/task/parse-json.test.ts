import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { asciiJson } from "../../../lib/task/json.ts";
import { parseJson } from "../../../lib/task/parse-json.ts";

/* https://github.com/nodejs/node/issues/63785 */
const ESCAPES = ['\\"', "\\\\", "\\b", "\\n", "\\u0000", "\\u0041", "\\/"];

/** Puts a backslash where the next object of this shape has its second key. */
function poison(): void {
  for (let times = 0; times < 3; times++) JSON.parse(String.raw`{"a":1,"\\":2}`);
}

describe("keys that are written with an escape", () => {
  test.each(ESCAPES)("%s is what it says, whatever was parsed before", (escape) => {
    poison();
    const key: string = JSON.parse(`"${escape}"`);
    expect(parseJson(`{"a":1,"${escape}":2}`)).toEqual({ a: 1, [key]: 2 });
    expect(parseJson(` [ { "a" : 1 , "${escape}" : [ ] } , {}, "\\\\", -1.5e3 ]`)).toEqual([
      { a: 1, [key]: [] },
      {},
      "\\",
      -1_500,
    ]);
  });

  test("are read as anything else is", () => {
    const nasty = fc.string({
      unit: fc.constantFrom("\\", '"', "\n", "{", "}", ",", ":", "[", "]", " ", "ü", "a", "\u2028"),
    });
    const value = fc.letrec((tie) => ({
      any: fc.oneof(
        { depthSize: "small" },
        nasty,
        fc.double({ noNaN: true, noDefaultInfinity: true }).filter((number) => !Object.is(number, -0)),
        fc.constantFrom(null, true, false),
        fc.array(tie("any"), { maxLength: 4 }),
        fc.dictionary(nasty, tie("any"), { maxKeys: 4 }),
      ),
    })).any;
    assert(
      fc.property(value, fc.constantFrom(undefined, 1, "\t"), (any, indent) => {
        expect(parseJson(JSON.stringify(any, null, indent))).toEqual(any);
        expect(parseJson(asciiJson(JSON.parse(JSON.stringify(any))))).toBeDefined();
      }),
      { numRuns: 3_000 },
    );
  });

  test("may be __proto__, which is a key like any other to JSON", () => {
    const value = parseJson(String.raw`{"__proto__":{"x":1},"\n":2}`);
    expect(Object.keys(Object(value))).toEqual(["__proto__", "\n"]);
    expect(Reflect.get(Object(value), "x")).toBeUndefined();
  });

  test("cost one look at the text, wherever the only escape is: at each string it would be the square of it", () => {
    const rows = Array.from({ length: 200_000 }, (_, n) => `"row${n}"`).join(",");
    const note = '"zNote":"line one\\nline two"';
    const fastest = (text: string): number =>
      Math.min(
        ...Array.from({ length: 3 }, () => {
          const began = performance.now();
          expect(parseJson(text)).toHaveProperty("zNote", "line one\nline two");
          return performance.now() - began;
        }),
      );
    expect(fastest(`{"rows":[${rows}],${note}}`) / fastest(`{${note},"rows":[${rows}]}`)).toBeLessThan(10);
  });

  test("may come by the hundred thousand", () => {
    const text = `{${Array.from({ length: 200_000 }, (_, n) => `"\\u00e4${n}":"${"\\n".repeat(10)}"`).join(",")}}`;
    expect(Object.keys(Object(parseJson(text)))).toHaveLength(200_000);
  });

  test.each(["", "{", '{"a\\n":}', '{"a\\n":1,}', '"\\x"', '{"\\x":1}'])("are refused where %s is no JSON", (text) => {
    expect(() => parseJson(text)).toThrow(SyntaxError);
  });
});
