import { readdirSync, readFileSync } from "node:fs";
import { describe, expect, test } from "vitest";

/**
 * The rows of the failure catalogue that this release touches, by number. The others belong to the
 * simulator (31, 32), schedules (46) and workflows (47), and join when those exist.
 */
const ROWS = [...range(1, 30), ...range(33, 45), ...range(48, 50)];

function range(from: number, to: number): number[] {
  return Array.from({ length: to - from + 1 }, (_, place) => from + place);
}

describe("the failures that this release promises to survive", () => {
  const folder = new URL("../", import.meta.url);
  const named = new Set(
    readdirSync(folder, { recursive: true, encoding: "utf8" })
      .filter((file) => /\.(test|contract)\.ts$/.test(file) && !file.endsWith("failures.test.ts"))
      .flatMap((file) => readFileSync(new URL(file, folder), "utf8").match(/\bF\d\d\b/g) ?? []),
  );

  test.each(ROWS)("F%i has a test that carries its number", (row) => {
    expect(named).toContain(`F${String(row).padStart(2, "0")}`);
  });
});
