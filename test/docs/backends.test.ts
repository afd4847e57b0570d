import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { LOCALSTACK_IMAGE } from "../../scripts/emulators/versions.ts";
import { GENERATED_PARTS, readPart } from "../../scripts/generated-docs.ts";
import { readText } from "../support/documents.ts";

const page = readText("docs/backends.md");

describe("docs/backends.md", () => {
  test.each(["versions", "differences"])("has the table of %s as the code has it (run: npm run docs)", (name) => {
    const part = GENERATED_PARTS.find((made) => made.name === name);
    expect(part?.text).toContain("LocalStack");
    expect(readPart(page, name)).toBe(part?.text);
  });

  test("names scripts that exist", () => {
    const { scripts }: { scripts: Record<string, string> } = JSON.parse(readText("package.json"));
    const named = [...page.matchAll(/`(?:[A-Z_]+=1 )?npm run ([a-z:]+)`/g)].map(([, script]) => script ?? "");
    expect(named.length).toBeGreaterThan(3);
    expect(named.filter((script) => scripts[script] === undefined)).toEqual([]);
  });

  test("has the image of LocalStack that compose.yaml has", () => {
    expect(readFileSync(new URL("../../compose.yaml", import.meta.url), "utf8")).toContain(
      `image: ${LOCALSTACK_IMAGE}\n`,
    );
  });
});
