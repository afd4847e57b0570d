// Bundles the scheduler function into the package, so that a user's CDK app deploys it without building anything.
import { build } from "esbuild";

await build({
  entryPoints: ["functions/scheduler.ts"],
  outfile: "dist/functions/scheduler/index.mjs",
  bundle: true,
  minify: true,
  platform: "node",
  target: "node22",
  format: "esm",
  // Parts of the SDK are CommonJS and ask for Node's modules by `require`.
  banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
  logLevel: "warning",
});
