import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const MINUTE_MS = 60_000;

const sourceOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

export default defineConfig({
  resolve: {
    // The examples import the package by its own name; under test that means its source.
    alias: [
      { find: /^tasklane$/, replacement: sourceOf("./lib/index.ts") },
      { find: /^tasklane\/testing$/, replacement: sourceOf("./lib/testing/index.ts") },
    ],
  },
  test: {
    maxWorkers: 2,
    // Never the thing under test: a busy machine only makes a run slower.
    testTimeout: MINUTE_MS,
    hookTimeout: MINUTE_MS,
    reporters: process.env["CI"] ? ["default", "json", "junit"] : ["default"],
    outputFile: { json: "reports/vitest.json", junit: "reports/vitest.xml" },
    coverage: { provider: "v8", include: ["lib/**/*.ts"], reportsDirectory: "coverage" },
    projects: [
      { extends: true, test: { name: "unit", include: ["test/unit/**/*.test.ts"] } },
      { extends: true, test: { name: "docs", include: ["test/docs/**/*.test.ts"] } },
      {
        extends: true,
        test: { name: "contract", include: ["test/contract/**/*.test.ts"] },
      },
      {
        extends: true,
        test: { name: "flow", include: ["test/flow/**/*.test.ts"] },
      },
      {
        extends: true,
        test: { name: "examples", include: ["examples/**/*.test.ts"] },
      },
      {
        // Crash tests start processes and kill them: they run one at a time, after all the others, on a quiet machine.
        extends: true,
        test: {
          name: "crash",
          include: ["test/crash/**/*.test.ts"],
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 4 * MINUTE_MS,
        },
      },
    ],
  },
});
