// Writes the parts of the documents that are made from the code: run `npm run docs` after changing a limit,
// a default or a state.
import { readFileSync, writeFileSync } from "node:fs";
import { GENERATED_PARTS, putPart } from "./generated-docs.ts";

for (const part of GENERATED_PARTS) {
  const path = new URL(`../${part.file}`, import.meta.url);
  const before = readFileSync(path, "utf8");
  const after = putPart(before, part);
  if (after === before) continue;
  writeFileSync(path, after);
  console.log(`wrote ${part.name} into ${part.file}`);
}
