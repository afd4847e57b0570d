import { fileURLToPath } from "node:url";
import { build } from "esbuild";
import { expect, test } from "vitest";

test("a bundle of definitions holds no code of Node or AWS, and is small", async () => {
  const { metafile } = await build({
    stdin: {
      contents: `
        import { defineRateLimit, defineTask } from "./lib/index.ts";
        const input = { "~standard": { version: 1, vendor: "own", validate: (value) => ({ value }) } };
        export const task = defineTask({ name: "a", input, rateLimit: defineRateLimit({ name: "b", limit: 1 }) });`,
      resolveDir: fileURLToPath(new URL("../../../", import.meta.url)),
    },
    bundle: true,
    write: false,
    metafile: true,
    minify: true,
    format: "esm",
    platform: "neutral",
    packages: "external",
    external: ["node:*"],
  });
  const [output] = Object.values(metafile.outputs);
  expect(output?.imports).toEqual([]);
  expect(
    Object.entries(output?.inputs ?? {}).filter(
      ([path, { bytesInOutput }]) => bytesInOutput > 0 && !path.startsWith("lib/task/"),
    ),
  ).toEqual([["<stdin>", expect.anything()]]);
  expect(output?.bytes).toBeLessThan(12_000);
});
