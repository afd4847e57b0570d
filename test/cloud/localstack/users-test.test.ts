import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { afterAll, expect, test } from "vitest";
import { endpointOf } from "../../support/emulator-backends.ts";
import { Deployment } from "../support/deployment.ts";

const STACK = "MailTests";
/** The app imports the package by its own name. */
const APP = "--import ./test/support/resolve-own-name.ts examples/localstack/cdk-app.ts";
let deployment: Deployment | undefined;

afterAll(() => deployment?.close());

/*
 * The tests that docs/localstack.md quotes, as a user runs them: by vitest of their own, with LocalStack in the environment.
 */

test("a test that provisions for itself passes against LocalStack", async () => {
  const { status, output } = await runTest("mails.test.ts", { AWS_ENDPOINT_URL: endpointOf("localstack") });
  expect(output).toMatch(/1 passed/);
  expect(status).toBe(0);
});

test("a test of what the CDK deployed passes against LocalStack, with its functions as the workers", async () => {
  deployment = new Deployment(endpointOf("localstack"), "localstack", APP);
  await deployment.bootstrap();
  await deployment.deploy();
  const { status, output } = await runTest("deployed.test.ts", {
    AWS_ENDPOINT_URL: endpointOf("localstack"),
    AWS_REGION: "us-east-1",
    AWS_ACCESS_KEY_ID: "test",
    AWS_SECRET_ACCESS_KEY: "test",
    TASKLANE_TOPOLOGY: deployment.output(STACK, "TasksTopology"),
  });
  expect(output).toMatch(/1 passed/);
  expect(status).toBe(0);
  await deployment.destroy();
});

/** Runs one test file of examples/localstack in a process of its own. */
function runTest(
  name: string,
  environment: Readonly<Record<string, string>>,
): Promise<{ status: number | null; output: string }> {
  const vitest = fileURLToPath(new URL("../../../node_modules/vitest/vitest.mjs", import.meta.url));
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, [vitest, "run", "--project", "examples", `examples/localstack/${name}`], {
      cwd: fileURLToPath(new URL("../../../", import.meta.url)),
      // With CI set it would overwrite the report of the run that it is part of.
      env: { ...process.env, ...environment, CI: "" },
      timeout: 120_000,
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ status: code, output: text }));
  });
}
