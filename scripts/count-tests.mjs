// Reads vitest's JSON report and prints what failed and what did not run, then "<passed> <failed>" as the last line.
// A test that is skipped or left as a todo counts as failed: a suite that quietly shrinks must not look like one that passes.
import { readFileSync } from "node:fs";
import { relative } from "node:path";

const [reportPath, exitStatus] = process.argv.slice(2);
const report = JSON.parse(readFileSync(reportPath, "utf8"));
let passed = 0;
let failed = 0;

for (const file of report.testResults) {
  const path = relative(process.cwd(), file.name);
  for (const test of file.assertionResults) {
    if (test.status === "passed") {
      passed += 1;
      continue;
    }
    failed += 1;
    console.log(`${test.status}: ${path} > ${test.fullName}`);
  }
  const hasFailedTest = file.assertionResults.some((test) => test.status === "failed");
  if (file.status === "failed" && !hasFailedTest) {
    failed += 1;
    console.log(`failed: ${path}: ${file.message.split("\n")[0] || "the file did not run"}`);
  }
}
if (passed + failed === 0) {
  failed += 1;
  console.log("failed: no test ran");
}
if (Number(exitStatus) !== 0 && failed === 0) {
  failed += 1;
  console.log(`failed: npm test ended with exit status ${exitStatus} though no test failed: see its output above`);
}
console.log(`${passed} ${failed}`);
