/**
 * The parts of the documents that are made from the code, between a begin and an end mark. `scripts/write-docs.ts` writes
 * them; tests in `test/docs` keep them current.
 */
import type { LimitRow } from "../lib/task/limit-tables.ts";
import { DEFAULTS_TABLE, LIMITS_TABLE } from "../lib/task/limit-tables.ts";
import { drawStateDiagram } from "../lib/task/states.ts";
import { drawDifferences } from "../test/support/backend-differences.ts";
import { drawVersions } from "./emulators/versions.ts";

/** One generated part of a document. */
export interface GeneratedPart {
  /** The document's path from the root of the repository. */
  readonly file: string;
  /** The part stands between `<!-- name:begin -->` and `<!-- name:end -->`. */
  readonly name: string;
  readonly text: string;
}

/** Every generated part. */
export const GENERATED_PARTS: readonly GeneratedPart[] = [
  { file: "docs/limits.md", name: "defaults", text: drawTable("default", DEFAULTS_TABLE) },
  { file: "docs/limits.md", name: "limits", text: drawTable("limit", LIMITS_TABLE) },
  { file: "docs/how-it-works.md", name: "states", text: `\`\`\`mermaid\n${drawStateDiagram()}\n\`\`\`` },
  { file: "docs/backends.md", name: "versions", text: drawVersions() },
  { file: "docs/backends.md", name: "differences", text: drawDifferences() },
];

/** Reads a generated part out of a document, without the marks and the blank lines around it. */
export function readPart(document: string, name: string): string | undefined {
  const { start, end } = findPart(document, name);
  return start < 0 || end < start ? undefined : document.slice(start, end).trim();
}

/**
 * Puts a generated part into a document, in place of what stands between its marks.
 *
 * @throws Error if the document lacks the marks
 */
export function putPart(document: string, { file, name, text }: GeneratedPart): string {
  const { start, end } = findPart(document, name);
  if (start < 0 || end < start)
    throw new Error(`${file} lacks the marks <!-- ${name}:begin --> and <!-- ${name}:end -->`);
  return `${document.slice(0, start)}\n\n${text}\n\n${document.slice(end)}`;
}

function findPart(document: string, name: string): { start: number; end: number } {
  const begin = `<!-- ${name}:begin -->`;
  const at = document.indexOf(begin);
  return { start: at < 0 ? -1 : at + begin.length, end: document.indexOf(`<!-- ${name}:end -->`) };
}

function drawTable(heading: string, rows: readonly LimitRow[]): string {
  const lines = rows.map(({ setting, value, why }) => `| ${setting} | ${value} | ${why} |`);
  return [`| setting | ${heading} | why |`, "| --- | --- | --- |", ...lines].join("\n");
}
