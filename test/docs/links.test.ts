import { existsSync, statSync } from "node:fs";
import { posix } from "node:path";
import { describe, expect, test } from "vitest";
import { codeBlocks, documentPaths, headingAnchors, linkTargets, readText } from "../support/documents.ts";

const paths = documentPaths();

describe("the documents", () => {
  test.each(paths)("%s links to files and headings that exist", (path) => {
    const broken = linkTargets(readText(path)).filter((target) => {
      if (/^[a-z]+:/.test(target)) return !target.startsWith("https://");
      const [file = "", anchor] = target.split("#");
      const found = file === "" ? path : posix.join(posix.dirname(path), file);
      const url = new URL(`../../${found}`, import.meta.url);
      if (!existsSync(url)) return true;
      return anchor !== undefined && (statSync(url).isDirectory() || !headingAnchors(readText(found)).includes(anchor));
    });
    expect(broken).toEqual([]);
  });

  test("docs/README.md leads to every page", () => {
    const index = linkTargets(readText("docs/README.md")).map((target) =>
      posix.join("docs", target.split("#")[0] ?? ""),
    );
    expect(
      paths.filter((path) => path.startsWith("docs/") && path !== "docs/README.md" && !index.includes(path)),
    ).toEqual([]);
  });

  test.each(paths)("%s names the language of each block", (path) => {
    const known = ["ts", "sh", "sql", "json", "text", "mermaid"];
    expect(codeBlocks(readText(path)).filter(({ language }) => !known.includes(language))).toEqual([]);
  });
});
