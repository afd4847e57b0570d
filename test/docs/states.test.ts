import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { drawStateDiagram } from "../../lib/task/states.ts";
import { readPart } from "../../scripts/generated-docs.ts";

test("docs/how-it-works.md has the diagram of states as the code has it (run: npm run docs)", () => {
  const page = readFileSync(new URL("../../docs/how-it-works.md", import.meta.url), "utf8");
  expect(readPart(page, "states")).toBe(`\`\`\`mermaid\n${drawStateDiagram()}\n\`\`\``);
});
