import { spawnSync } from "node:child_process";
import { cpSync, mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { installDynamodbLocal } from "./dynamodb-local.ts";
import type { Emulator, StartOptions } from "./emulator.ts";
import { cacheFolder, installOnce, run } from "./install.ts";
import { layOutForLocalstack, PACKAGES_FOLDER } from "./localstack-layout.ts";
import { freePort, startServer } from "./process.ts";
import { LOCALSTACK_DEPENDENCIES_AS_OF, LOCALSTACK_IMAGE, VERSIONS } from "./versions.ts";

const isHealthy = async (endpoint: string): Promise<boolean> =>
  (await fetch(`${endpoint}/_localstack/health`, { signal: AbortSignal.timeout(2_000) })).ok;

/** The one that `AWS_ENDPOINT_URL` names; else a container, where there is a Docker engine; else one in host mode. */
export async function startLocalstack(options: StartOptions): Promise<Emulator> {
  const given = process.env["AWS_ENDPOINT_URL"];
  if (given !== undefined && given !== "")
    return { name: "localstack", endpoint: given, version: "as given", log: given, stop: () => Promise.resolve() };
  const port = options.port ?? (await freePort());
  return hasDocker() ? startContainer(port) : startOnHost(port);
}

function hasDocker(): boolean {
  return spawnSync("docker", ["info"], { stdio: "ignore", timeout: 10_000 }).status === 0;
}

async function startContainer(port: number): Promise<Emulator> {
  mkdirSync(cacheFolder(), { recursive: true });
  const endpoint = `http://127.0.0.1:${port}`;
  const log = join(cacheFolder(), `localstack-${port}.log`);
  const compose = fileURLToPath(new URL("../../compose.yaml", import.meta.url));
  const project = `tasklane-${port}`;
  const docker = (...args: string[]): string[] => ["compose", "--file", compose, "--project-name", project, ...args];
  const server = await startServer({
    command: "docker",
    args: docker("up", "--abort-on-container-exit"),
    cwd: dirname(compose),
    log,
    environment: { ...process.env, LOCALSTACK_PORT: String(port) },
    isReady: () => isHealthy(endpoint),
  });
  return {
    name: "localstack",
    endpoint,
    version: LOCALSTACK_IMAGE,
    log,
    stop: async () => {
      spawnSync("docker", docker("down", "--volumes"), {
        stdio: "ignore",
        timeout: 60_000,
        env: { ...process.env, LOCALSTACK_PORT: String(port) },
      });
      await server.stop();
    },
  };
}

/**
 * Without Docker: from PyPI, on this machine's own Python, with DynamoDB Local from Maven Central, and with functions as child processes
 * through LocalStack's own plugin point.
 */
async function startOnHost(port: number): Promise<Emulator> {
  const dynamodbLocal = await installOnce(`dynamodb-local-${VERSIONS.dynamodbLocal}`, installDynamodbLocal);
  const folder = await installOnce(`localstack-host-${VERSIONS.localstackHost}`, (target) =>
    installOnHost(target, dynamodbLocal),
  );
  const endpoint = `http://127.0.0.1:${port}`;
  const log = join(folder, `localstack-${port}.log`);
  const root = makeRoot(folder, port);
  const { stop } = await startServer({
    command: "venv/bin/python",
    args: ["-m", "localstack.runtime.main"],
    cwd: folder,
    log,
    environment: {
      ...process.env,
      AWS_ENDPOINT_URL: undefined,
      // Written as IPv4 it is ignored and every interface is bound; this form of the same address is heeded.
      GATEWAY_LISTEN: `[::ffff:127.0.0.1]:${port}`,
      LOCALSTACK_HOST: `127.0.0.1:${port}`,
      // Else queue URLs name hosts that only LocalStack's own DNS server knows.
      SQS_ENDPOINT_STRATEGY: "path",
      FILESYSTEM_ROOT: root,
      XDG_CACHE_HOME: join(folder, "cache"),
      OVERRIDE_IN_DOCKER: "0",
      PERSISTENCE: "0",
      DYNAMODB_IN_MEMORY: "1",
      PROVIDER_OVERRIDE_DYNAMODB: "v2",
      PROVIDER_OVERRIDE_DYNAMODBSTREAMS: "v2",
      LAMBDA_RUNTIME_EXECUTOR: "process",
      DISABLE_EVENTS: "1",
      SKIP_SSL_CERT_DOWNLOAD: "1",
      DNS_ADDRESS: "0",
      // Functions run on the Node that runs this.
      PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter),
    },
    isReady: () => isHealthy(endpoint),
  });
  return {
    name: "localstack",
    endpoint,
    version: VERSIONS.localstackHost,
    log,
    stop: async () => {
      await stop();
      rmSync(root, { recursive: true, force: true });
    },
  };
}

/** Each server gets files of its own, since one that stops removes what it finds; what is installed they share. */
function makeRoot(folder: string, port: number): string {
  const root = join(folder, `root-${port}`);
  rmSync(root, { recursive: true, force: true });
  mkdirSync(join(root, "var/lib/localstack"), { recursive: true });
  symlinkSync(join(folder, PACKAGES_FOLDER), join(root, "var/lib/localstack/lib"));
  return root;
}

async function installOnHost(folder: string, dynamodbLocal: string): Promise<void> {
  const python = process.env["LOCALSTACK_PYTHON"] ?? "python3";
  await run("python3", ["-m", "venv", "uv"], folder);
  await run("uv/bin/python", ["-m", "pip", "install", "--quiet", `uv==${VERSIONS.uv}`], folder);
  const uv = (...args: string[]): Promise<string> => run("uv/bin/uv", args, folder);
  await uv("venv", "--quiet", "--clear", "--python", python, "venv");
  const install = ["pip", "install", "--quiet", "--python", "venv/bin/python"];
  await uv(
    ...install,
    "--exclude-newer",
    LOCALSTACK_DEPENDENCIES_AS_OF,
    `localstack-core[runtime]==${VERSIONS.localstackHost}`,
    "setuptools",
  );
  quoteAnnotation(join(folder, "venv/lib"));
  cpSync(fileURLToPath(new URL("lambda-process", import.meta.url)), join(folder, "lambda-process"), {
    recursive: true,
  });
  await uv(...install, "--no-build-isolation", "--no-deps", "./lambda-process");
  await layOutForLocalstack(dynamodbLocal, folder);
}

/** One annotation of this release asks for Python 3.13; as a string it asks for nothing. */
function quoteAnnotation(library: string): void {
  const version = readdirSync(library).find((name) => name.startsWith("python3"));
  const path = join(library, version ?? "python3", "site-packages/localstack/packages/api.py");
  const source = readFileSync(path, "utf8");
  writeFileSync(path, source.replace("install_lock: Lock | None = None", 'install_lock: "Lock | None" = None'));
}
