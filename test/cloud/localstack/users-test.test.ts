import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { expect, test } from "vitest";
import { endpointOf } from "../../support/emulator-backends.ts";

test("a user's own test of docs/localstack.md passes against LocalStack", async () => {
  const root = fileURLToPath(new URL("../../../", import.meta.url));
  const vitest = fileURLToPath(new URL("../../../node_modules/vitest/vitest.mjs", import.meta.url));
  const { status, output } = await new Promise<{ status: number | null; output: string }>((resolve, reject) => {
    const child = spawn(process.execPath, [vitest, "run", "--project", "examples", "examples/localstack"], {
      cwd: root,
      env: { ...process.env, AWS_ENDPOINT_URL: endpointOf("localstack"), CI: "" },
      timeout: 120_000,
    });
    let text = "";
    child.stdout.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (text += chunk.toString()));
    child.on("error", reject);
    child.on("close", (code) => resolve({ status: code, output: text }));
  });
  expect(output).toMatch(/1 passed/);
  expect(status).toBe(0);
});
