/**
 * Runs a command beside an emulator: `npm run emulator -- ministack -- npx vitest run`. Without a command it stays until Ctrl-C.
 */
import { spawn } from "node:child_process";
import { startEmulator } from "./index.ts";
import type { EmulatorName } from "./versions.ts";

const NAMES: readonly EmulatorName[] = ["localstack", "ministack", "dynamodb-local", "elasticmq"];
const [wanted, separator, command, ...args] = process.argv.slice(2);
const name = NAMES.find((known) => known === wanted);

if (name === undefined || (separator !== undefined && separator !== "--")) {
  console.error(`usage: npm run emulator -- ${NAMES.join("|")} [-- command arguments…]`);
  process.exitCode = 2;
} else {
  const emulator = await startEmulator(name);
  console.error(`${name} ${emulator.version} at ${emulator.endpoint}; its log: ${emulator.log}`);
  try {
    process.exitCode = command === undefined ? await interrupted() : await runBeside(emulator.endpoint, command, args);
  } finally {
    await emulator.stop();
  }
}

function interrupted(): Promise<number> {
  const alive = setInterval(() => undefined, 60_000);
  return new Promise((resolve) => {
    for (const signal of ["SIGINT", "SIGTERM"] as const)
      process.once(signal, () => {
        clearInterval(alive);
        resolve(0);
      });
  });
}

function runBeside(endpoint: string, program: string, given: readonly string[]): Promise<number> {
  return new Promise((resolve, reject) => {
    const child = spawn(program, given, {
      stdio: "inherit",
      env: {
        ...process.env,
        AWS_ENDPOINT_URL: endpoint,
        // A profile and a session of somebody's own go before these credentials, or do not fit them.
        AWS_PROFILE: undefined,
        AWS_SESSION_TOKEN: undefined,
        AWS_ACCESS_KEY_ID: "test",
        AWS_SECRET_ACCESS_KEY: "test",
        AWS_REGION: "us-east-1",
        AWS_DEFAULT_REGION: "us-east-1",
      },
    });
    // The child gets the signal too; we wait for its end.
    process.on("SIGINT", () => undefined);
    process.once("SIGTERM", () => child.kill("SIGTERM"));
    child.on("error", reject);
    child.on("close", (status) => resolve(status ?? 1));
  });
}
