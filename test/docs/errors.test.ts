import { readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";
import { ERROR_CODES } from "../../lib/task/errors.ts";

const page = readFileSync(new URL("../../docs/errors.md", import.meta.url), "utf8");
const codes = Object.keys(ERROR_CODES);
/** The text of each section that is headed by a code. */
const sections = new Map(
  page
    .split(/^## /m)
    .slice(1)
    .map((section) => [section.split("\n", 1)[0] ?? "", section.slice(section.indexOf("\n")).trim()] as const),
);

describe("docs/errors.md", () => {
  test.each(codes)("has a section on %s, which says more than its name", (code) => {
    expect(sections.get(code)?.length ?? 0).toBeGreaterThan(80);
  });

  test("has no section on a code that does not exist, and none twice", () => {
    const headings = page.match(/^## .*$/gm)?.map((heading) => heading.slice(3)) ?? [];
    expect(headings).toEqual(codes);
  });

  test.each(codes)("begins the section on %s with the meaning that the code gives", (code) => {
    const meaning = ERROR_CODES[code as keyof typeof ERROR_CODES];
    expect(sections.get(code)?.toLowerCase().startsWith(meaning.toLowerCase())).toBe(true);
  });

  test("names no code in its text that does not exist", () => {
    const named = page.match(/`[A-Z]+(?:_[A-Z]+)+`/g)?.map((code) => code.slice(1, -1)) ?? [];
    const others = named.filter((code) => !codes.includes(code) && !code.startsWith("TASKLANE_"));
    expect(others).toEqual([]);
  });
});
