import { fileURLToPath } from "node:url";
import { defineConfig } from "vitest/config";

const MINUTE_MS = 60_000;

const sourceOf = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

/**
 * Suites that need an emulator from outside npm, the packed package, or an account. Each has an npm script of its own, and is there
 * only where it is asked for by name, so that `npm test` runs everything else.
 */
const OUTSIDE = [
  { name: "backends", include: ["test/backends/{dynamodb-local,elasticmq}/**/*.test.ts"] },
  { name: "localstack", include: ["test/{backends,cloud}/localstack/**/*.test.ts"] },
  { name: "ministack", include: ["test/{backends,cloud}/ministack/**/*.test.ts"] },
  { name: "package", include: ["test/package/**/*.test.ts"] },
  { name: "aws", include: ["test/{backends,cloud}/aws/**/*.test.ts"] },
];

function isAskedFor(name: string): boolean {
  return process.argv.some(
    (argument, at) =>
      argument === `--project=${name}` || (argument === name && at > 0 && process.argv[at - 1] === "--project"),
  );
}

export default defineConfig({
  resolve: {
    // The examples import the package by its own name; under test that means its source.
    alias: [
      { find: /^tasklane$/, replacement: sourceOf("./lib/index.ts") },
      { find: /^tasklane\/lambda$/, replacement: sourceOf("./lib/lambda/index.ts") },
      { find: /^tasklane\/cdk$/, replacement: sourceOf("./infra/index.ts") },
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
      { extends: true, test: { name: "lambda", include: ["test/lambda/**/*.test.ts"] } },
      { extends: true, test: { name: "middlewares", include: ["test/middlewares/**/*.test.ts"] } },
      { extends: true, test: { name: "infra", include: ["test/infra/**/*.test.ts"] } },
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
      ...OUTSIDE.filter(({ name }) => isAskedFor(name)).map(({ name, include }) => ({
        extends: true as const,
        test: {
          name,
          include,
          fileParallelism: false,
          testTimeout: 5 * MINUTE_MS,
          hookTimeout: 8 * MINUTE_MS,
          globalSetup: ["test/support/emulator-setup.ts"],
        },
      })),
    ],
  },
});
