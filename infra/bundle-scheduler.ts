import type * as Esbuild from "esbuild";

/** Bundles the scheduler function from its source into one file: for the package when it is built, and for a checkout when it is deployed. */
export function bundleScheduler({ buildSync }: typeof Esbuild, entry: string, outfile: string): void {
  buildSync({
    entryPoints: [entry],
    outfile,
    bundle: true,
    minify: true,
    platform: "node",
    target: "node22",
    format: "esm",
    // Parts of the SDK are CommonJS and ask for Node's modules by `require`.
    banner: { js: 'import { createRequire } from "node:module"; const require = createRequire(import.meta.url);' },
    logLevel: "warning",
  });
}
