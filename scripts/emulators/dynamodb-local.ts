import { join } from "node:path";
import { fileURLToPath } from "node:url";
import type { Emulator, StartOptions } from "./emulator.ts";
import { installOnce, run } from "./install.ts";
import { fetchJars } from "./maven.ts";
import { freePort, startServer } from "./process.ts";
import { VERSIONS } from "./versions.ts";

/** DynamoDB Local itself, with the class that keeps it on 127.0.0.1. */
export async function installDynamodbLocal(folder: string): Promise<void> {
  await fetchJars(folder, [
    { group: "com.amazonaws", name: "DynamoDBLocal", version: VERSIONS.dynamodbLocal },
    { group: "net.bytebuddy", name: "byte-buddy-agent", version: VERSIONS.byteBuddy },
    { group: "org.eclipse.jdt", name: "ecj", version: VERSIONS.ecj },
  ]);
  const source = fileURLToPath(new URL("java/LoopbackMain.java", import.meta.url));
  // Eclipse's compiler is a jar like the others, and finds what it compiles against where it is itself: so Java need not be a JDK.
  const compiler = "org.eclipse.jdt.internal.compiler.batch.Main";
  await run("java", ["-cp", "jars/*", compiler, "-17", "-d", "classes", source], folder);
}

/** Starts DynamoDB Local, from Maven Central, with everything in memory. */
export async function startDynamodbLocal(options: StartOptions): Promise<Emulator> {
  const folder = await installOnce(`dynamodb-local-${VERSIONS.dynamodbLocal}`, installDynamodbLocal);
  const port = options.port ?? (await freePort());
  const endpoint = `http://127.0.0.1:${port}`;
  const log = join(folder, `dynamodb-local-${port}.log`);
  const { stop } = await startServer({
    command: "java",
    args: [
      "-Xmx512m",
      "-XX:+UseSerialGC",
      "-Djava.library.path=jars",
      "-cp",
      "classes:jars/*",
      "LoopbackMain",
      "-inMemory",
      "-sharedDb",
      "-disableTelemetry",
      "-port",
      String(port),
    ],
    cwd: folder,
    log,
    environment: process.env,
    // It refuses a request without credentials, which is an answer.
    isReady: async () => (await fetch(endpoint, { signal: AbortSignal.timeout(2_000) })).status > 0,
  });
  return { name: "dynamodb-local", endpoint, version: VERSIONS.dynamodbLocal, log, stop };
}
