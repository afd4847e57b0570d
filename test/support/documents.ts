import { readdirSync, readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../../", import.meta.url));

/** A fenced block of a document. */
export interface CodeBlock {
  /** As in `ts` or `sh`; empty if the fence names none. */
  readonly language: string;
  /** The path in the HTML comment just above the fence, if there is one. */
  readonly source: string | undefined;
  readonly code: string;
  /** Where the block begins, from 1. */
  readonly line: number;
}

const BLOCK = /^(?:<!-- (\S+\.\w+) -->\n\n)?```(\w*)\n(.*?)^```$/gms;

/** Reads a file by its path from the root of the repository. */
export function readText(path: string): string {
  return readFileSync(root + path, "utf8");
}

/** The paths of the documents that a reader is led through: the README and everything in `docs`. */
export function documentPaths(): string[] {
  const pages = readdirSync(`${root}docs`, { recursive: true, encoding: "utf8" }).filter((name) =>
    name.endsWith(".md"),
  );
  return ["README.md", ...pages.map((name) => `docs/${name.replaceAll("\\", "/")}`).sort()];
}

/** Finds the fenced blocks of a document. */
export function codeBlocks(text: string): CodeBlock[] {
  return [...text.matchAll(BLOCK)].map(({ 1: source, 2: language = "", 3: code = "", index }) => ({
    language,
    source,
    code,
    line: text.slice(0, index).split("\n").length,
  }));
}

/** The targets of a document's links, outside of code. */
export function linkTargets(text: string): string[] {
  const prose = text.replace(BLOCK, "").replace(/`[^`\n]*`/g, "");
  return [...prose.matchAll(/\]\(([^)\s]+)\)/g)].map(([, target = ""]) => target);
}

/** The anchors that a document's headings make, as GitHub names them. */
export function headingAnchors(text: string): string[] {
  const headings = text.replace(BLOCK, "").matchAll(/^#{1,6} (.+)$/gm);
  return [...headings].map(([, heading = ""]) =>
    heading
      .toLowerCase()
      .replace(/[^\p{Letter}\p{Number}\s_-]/gu, "")
      .replace(/\s/g, "-"),
  );
}
