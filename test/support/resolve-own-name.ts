/**
 * Preloaded with `node --import`, it lets the examples run as plain processes: they import the package by its own name, which
 * means its source here, as it does under vitest and for the type checker.
 */
import { registerHooks } from "node:module";

const SOURCES: ReadonlyMap<string, string> = new Map([
  ["tasklane", new URL("../../lib/index.ts", import.meta.url).href],
  ["tasklane/cdk", new URL("../../infra/index.ts", import.meta.url).href],
  ["tasklane/lambda", new URL("../../lib/lambda/index.ts", import.meta.url).href],
  ["tasklane/testing", new URL("../../lib/testing/index.ts", import.meta.url).href],
]);

registerHooks({
  resolve: (specifier, context, nextResolve) => nextResolve(SOURCES.get(specifier) ?? specifier, context),
});
