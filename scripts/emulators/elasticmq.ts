import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Emulator, StartOptions } from "./emulator.ts";
import { installOnce } from "./install.ts";
import { fetchJars } from "./maven.ts";
import { freePort, startServer } from "./process.ts";
import { VERSIONS } from "./versions.ts";

/** Starts ElasticMQ, from Maven Central, with SQS's limits switched on. */
export async function startElasticmq(options: StartOptions): Promise<Emulator> {
  const folder = await installOnce(`elasticmq-${VERSIONS.elasticmq}`, (target) =>
    fetchJars(target, [{ group: "org.elasticmq", name: "elasticmq-server_2.13", version: VERSIONS.elasticmq }]),
  );
  const port = options.port ?? (await freePort());
  const endpoint = `http://127.0.0.1:${port}`;
  const log = join(folder, `elasticmq-${port}.log`);
  const settings = join(folder, `elasticmq-${port}.conf`);
  writeFileSync(
    settings,
    `include classpath("application.conf")
node-address { host = "127.0.0.1", port = ${port} }
rest-sqs { bind-hostname = "127.0.0.1", bind-port = ${port}, sqs-limits = strict }
rest-stats.enabled = false
`,
  );
  const { stop } = await startServer({
    command: "java",
    args: ["-Xmx256m", `-Dconfig.file=${settings}`, "-cp", "jars/*", "org.elasticmq.server.Main"],
    cwd: folder,
    log,
    environment: process.env,
    isReady: async () =>
      (await fetch(`${endpoint}/?Action=ListQueues`, { signal: AbortSignal.timeout(2_000) })).status > 0,
  });
  return { name: "elasticmq", endpoint, version: VERSIONS.elasticmq, log, stop };
}
