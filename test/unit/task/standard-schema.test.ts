import * as v from "valibot";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import type { AnySchema } from "../../../lib/task/standard-schema.ts";
import { describeIssues, validate } from "../../../lib/task/standard-schema.ts";

/** A schema whose check is the function given. */
function schemaOf(check: (value: unknown) => unknown): AnySchema {
  return { "~standard": { version: 1, vendor: "own", validate: check } } as AnySchema;
}

describe("validation by a Standard Schema", () => {
  test.each([
    ["zod", z.object({ n: z.string().transform(Number) })],
    ["valibot", v.object({ n: v.pipe(v.string(), v.transform(Number)) })],
  ] as const)("gives the output side of a transform: %s", async (_, schema) => {
    expect(await validate(schema, { n: "5" })).toEqual({ ok: true, value: { n: 5 } });
  });

  test.each([
    ["zod", z.object({ items: z.array(z.object({ price: z.number() })) })],
    ["valibot", v.object({ items: v.array(v.object({ price: v.number() })) })],
  ] as const)("tells where each mismatch is: %s", async (_, schema) => {
    const result = await validate(schema, { items: [{ price: 1 }, { price: "2" }] });
    expect(result).toEqual({
      ok: false,
      issues: [{ path: "items.1.price", message: expect.stringMatching(/number/i) }],
    });
  });

  test("waits for a schema that takes its time", async () => {
    expect(
      await validate(
        schemaOf(async (value) => ({ value })),
        5,
      ),
    ).toEqual({ ok: true, value: 5 });
  });

  test.each([
    [
      "throws",
      () => {
        throw new Error("bug");
      },
      "the schema threw: Error: bug",
    ],
    ["rejects", () => Promise.reject(new Error("bug")), "the schema threw: Error: bug"],
    [
      "throws what cannot be written",
      () => {
        throw Object.create(null);
      },
      "the schema threw: thrown value: {}",
    ],
    [
      "throws a proxy that throws",
      () => {
        throw new Proxy(
          {},
          {
            has: () => {
              throw new Error("x");
            },
          },
        );
      },
      "the schema threw: thrown value that cannot be read",
    ],
    ["gives nothing", () => undefined, "the schema threw: TypeError: "],
  ])("takes a schema that %s for one issue", async (_, check, message) => {
    const result = await validate(schemaOf(check), 5);
    expect(result).toEqual({ ok: false, issues: [{ path: "", message: expect.stringContaining(message) }] });
  });

  test("writes its issues as one line", () => {
    expect(
      describeIssues([
        { path: "to", message: "no text" },
        { path: "", message: "no order" },
      ]),
    ).toBe("to: no text; no order");
  });
});
