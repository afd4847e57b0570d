import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Emulator, StartOptions } from "./emulator.ts";
import { installOnce, run } from "./install.ts";
import { freePort, startServer } from "./process.ts";
import { VERSIONS } from "./versions.ts";

/** Starts MiniStack, from PyPI in a virtual environment. Its functions run on this process's own Node. */
export async function startMinistack(options: StartOptions): Promise<Emulator> {
  const folder = await installOnce(`ministack-${VERSIONS.ministack}`, async (target) => {
    await run("python3", ["-m", "venv", "venv"], target);
    await run("venv/bin/python", ["-m", "pip", "install", "--quiet", `ministack==${VERSIONS.ministack}`], target);
  });
  const port = options.port ?? (await freePort());
  const endpoint = `http://127.0.0.1:${port}`;
  const log = join(folder, `ministack-${port}.log`);
  const { stop } = await startServer({
    command: "venv/bin/python",
    args: ["-m", "ministack"],
    cwd: folder,
    log,
    environment: {
      ...process.env,
      AWS_ENDPOINT_URL: undefined,
      // Both default to every interface.
      BIND_HOST: "127.0.0.1",
      MINISTACK_HOST: "127.0.0.1",
      GATEWAY_PORT: String(port),
      LAMBDA_EXECUTOR: "local",
      PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter),
      // Custom resources of the CDK expect the runtime's SDK; without it they hang the deploy for good.
      NODE_PATH: fileURLToPath(new URL("../../node_modules/", import.meta.url)),
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
      AWS_REGION: "us-east-1",
    },
    isReady: async () => (await fetch(`${endpoint}/_ministack/health`, { signal: AbortSignal.timeout(2_000) })).ok,
  });
  return { name: "ministack", endpoint, version: VERSIONS.ministack, log, stop };
}
