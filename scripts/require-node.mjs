// Plain JavaScript in the syntax of old releases, so that the Node that is too old can still read the advice.
// The least version is the one that package.json states under "engines".
import { readFileSync } from "node:fs";

const { engines, devDependencies } = JSON.parse(readFileSync(new URL("../package.json", import.meta.url), "utf8"));
const least = engines.node
  .replace(/[^\d.]/g, "")
  .split(".")
  .map(Number);
const found = process.versions.node.split(".").map(Number);
const isNewEnough = found[0] > least[0] || (found[0] === least[0] && found[1] >= least[1]);

if (!isNewEnough) {
  console.error(
    `Tasklane needs Node ${least.join(".")} or newer and this is Node ${process.versions.node}: run \`npm ci\`, which brings Node ${devDependencies.node} into node_modules for every \`npm run\`, or install a newer Node from https://nodejs.org.`,
  );
  process.exit(1);
}
