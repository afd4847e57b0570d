import fc, { assert } from "fast-check";
import { describe, expect, test } from "vitest";
import { decodePayloadRef, encodePayloadRef, LIFE_CLASSES, lifeClassFor } from "../../../lib/task/payload-ref.ts";
import { anyPayloadRef, anyText } from "./arbitraries.ts";

const DAY_MS = 86_400_000;

describe("a payload reference", () => {
  test("comes back as it was written", () => {
    assert(
      fc.property(anyPayloadRef, (ref) => {
        expect(decodePayloadRef(encodePayloadRef(ref))).toEqual(ref);
      }),
      { numRuns: 2_000 },
    );
  });

  test("is short, since the record holds it", () => {
    const ref = encodePayloadRef({
      at: "s3",
      hash: "h".repeat(43),
      bytes: 10 * 1_048_576,
      codec: "zstd",
      life: "d400",
      storedAt: 1_795_000_000_000,
    });
    expect(ref).toBe(`sz.d400.${(10_485_760).toString(36)}.${(1_795_000_000_000).toString(36)}.${"h".repeat(43)}`);
    expect(ref).toHaveLength(66);
  });

  const good = `sj.d30.a.b.${"h".repeat(43)}`;
  test.each([
    ["nothing", ""],
    ["a bucket", `sj.other-bucket.a.b.${"h".repeat(43)}`],
    ["an unknown life class", good.replace("d30", "d31")],
    ["a life class that is a property of objects", good.replace("d30", "constructor")],
    ["a path in the hash", `sj.d30.a.b.../../other-task/${"h".repeat(10)}`],
    ["a slash in the hash", good.replace("hh", "h/")],
    ["a dot in the hash", good.replace("hh", "h.")],
    ["no hash", "sj.d30.a.b."],
    ["a hash that is too long", `sj.d30.a.b.${"h".repeat(65)}`],
    ["a line break at the end", `${good}\n`],
    ["a blank before it", ` ${good}`],
    ["more after it", `${good}.x`],
    ["an unknown place", `x${good.slice(1)}`],
    ["an unknown codec", good.replace("sj", "sb")],
    ["a negative size", good.replace(".a.", ".-a.")],
    ["a size beyond all numbers", good.replace(".a.", `.${"z".repeat(300)}.`)],
    ["a size beyond whole numbers", good.replace(".a.", ".zzzzzzzzzzzzz.")],
    ["a time beyond whole numbers", good.replace(".b.", ".zzzzzzzzzzzzz.")],
    ["no size", good.replace(".a.", "..")],
    ["a capital size", good.replace(".a.", ".A.")],
    ["a URL", "https://example.com/x"],
    ["JSON", '{"at":"s3","key":"d30/other/x"}'],
  ])("that holds %s is refused", (_, text) => {
    expect(decodePayloadRef(good)).toMatchObject({ at: "s3", life: "d30" });
    expect(decodePayloadRef(text)).toBeUndefined();
  });

  test("from anywhere is refused, or holds only what its type allows: never a key, a bucket or a path", () => {
    const forged = fc.oneof(
      anyText,
      fc
        .tuple(
          fc.constantFrom("i", "s", "r", ""),
          anyText,
          fc.constantFrom("d30", "d100", "d400", ".."),
          anyText,
          anyText,
        )
        .map(([at, codec, life, bytes, hash]) => `${at}${codec}.${life}.${bytes}.0.${hash}`),
      fc
        .tuple(fc.nat({ max: good.length }), anyText)
        .map(([place, text]) => good.slice(0, place) + text + good.slice(place + 1)),
    );
    assert(
      fc.property(forged, (text) => {
        const ref = decodePayloadRef(text);
        if (ref === undefined || ref.at === "record") return;
        expect(Object.keys(ref).toSorted()).toEqual(["at", "bytes", "codec", "hash", "life", "storedAt"]);
        expect(ref.hash).toMatch(/^[A-Za-z0-9_-]{1,64}$/);
        expect(LIFE_CLASSES.map((life) => life.prefix)).toContain(ref.life);
        expect([ref.bytes, ref.storedAt].every((value) => Number.isSafeInteger(value) && value >= 0)).toBe(true);
      }),
      { numRuns: 2_000 },
    );
  });

  test.each([
    [0, "d30"],
    [30 * DAY_MS, "d30"],
    [30 * DAY_MS + 1, "d100"],
    [100 * DAY_MS, "d100"],
    [100 * DAY_MS + 1, "d400"],
    [400 * DAY_MS, "d400"],
    [400 * DAY_MS + 1, undefined],
    [Number.NaN, undefined],
  ])("that has to last %i ms gets the class %s", (span, prefix) => {
    expect(lifeClassFor(span)?.prefix).toBe(prefix);
  });
});
