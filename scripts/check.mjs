// Runs every `check:*` script in order and reports each on one line; the output of a check shows only when it fails.
// All of them run even after a failure, so that one run shows everything that is wrong.
import { spawnSync } from "node:child_process";
import { readFileSync } from "node:fs";

const { scripts } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const checks = Object.keys(scripts).filter((name) => name.startsWith("check:"));
const failed = [];

for (const name of checks) {
  const started = performance.now();
  const run = spawnSync("npm", ["run", "--silent", name], { encoding: "utf8", shell: process.platform === "win32" });
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  if (run.status === 0) {
    console.log(`ok      ${name} (${seconds} s)`);
    continue;
  }
  failed.push(name);
  console.log(`FAILED  ${name} (${seconds} s)`);
  console.log(`${run.stdout ?? ""}${run.stderr ?? ""}${run.error ? String(run.error) : ""}`);
}

if (failed.length > 0) {
  console.error(`${failed.length} of ${checks.length} checks failed: ${failed.join(", ")}`);
  process.exit(1);
}
console.log(`all ${checks.length} checks passed`);
