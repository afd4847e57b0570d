import {
  copyFileSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  realpathSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { run } from "./install.ts";

/** A line of a manifest has at most 72 bytes; a longer one goes on after a space. */
const MANIFEST_LINE_MAX_BYTES = 70;

/** Where LocalStack's packages are installed, from the folder of its installation. */
export const PACKAGES_FOLDER = "packages";

/**
 * Lays Java and DynamoDB Local out where LocalStack looks for them, so that it downloads nothing: it starts `DynamoDBLocal.jar` beside
 * its `DynamoDBLocal_lib`, and here that jar names our class, which keeps the server on 127.0.0.1.
 */
export async function layOutForLocalstack(dynamodbLocal: string, folder: string): Promise<void> {
  const packages = join(folder, PACKAGES_FOLDER);
  const home = join(packages, "dynamodb-local/2");
  const libraries = join(home, "DynamoDBLocal_lib");
  mkdirSync(libraries, { recursive: true });
  mkdirSync(join(packages, "java"), { recursive: true });
  // The name that LocalStack expects; this release of DynamoDB Local needs only 17.
  const java = join(packages, "java/21");
  if (!existsSync(java)) symlinkSync(await findJavaHome(), java);

  const jars = join(dynamodbLocal, "jars");
  const classPath: string[] = [];
  for (const name of readdirSync(jars).toSorted()) {
    copyFileSync(join(jars, name), join(libraries, name));
    if (name.startsWith("libsqlite4java-linux-amd64-"))
      copyFileSync(join(jars, name), join(libraries, "libsqlite4java-linux-amd64.so"));
    // In place of LocalStack's own agent, which only lifts the limit of 20 indexes.
    else if (name.startsWith("byte-buddy-agent-"))
      copyFileSync(join(jars, name), join(home, "ddb-local-loader-0.1.jar"));
    else if (name.endsWith(".jar")) classPath.push(`DynamoDBLocal_lib/${name}`);
  }
  await makeJar(join(home, "DynamoDBLocal.jar"), join(dynamodbLocal, "classes"), [
    "Manifest-Version: 1.0",
    "Main-Class: LoopbackMain",
    `Class-Path: ${classPath.join(" ")}`,
  ]);
}

/** A jar is a zip file with a manifest, which Python writes too: Java's own `jar` comes with a JDK only. */
async function makeJar(jar: string, classes: string, manifest: readonly string[]): Promise<void> {
  const content = `${jar}.content`;
  mkdirSync(join(content, "META-INF"), { recursive: true });
  writeFileSync(join(content, "META-INF/MANIFEST.MF"), `${manifest.map(foldLine).join("\n")}\n`);
  cpSync(classes, content, { recursive: true });
  await run("python3", ["-m", "zipfile", "-c", jar, ...readdirSync(content).toSorted()], content);
  rmSync(content, { recursive: true });
}

async function findJavaHome(): Promise<string> {
  const settings = await run("java", ["-XshowSettings:properties", "-version"], ".");
  const found = /java\.home = (.+)/.exec(settings)?.[1]?.trim();
  if (found === undefined)
    throw new Error("java does not tell where it is: java -XshowSettings:properties names no java.home");
  return realpathSync(found);
}

function foldLine(line: string): string {
  const parts: string[] = [line.slice(0, MANIFEST_LINE_MAX_BYTES)];
  for (let at = MANIFEST_LINE_MAX_BYTES; at < line.length; at += MANIFEST_LINE_MAX_BYTES - 1)
    parts.push(` ${line.slice(at, at + MANIFEST_LINE_MAX_BYTES - 1)}`);
  return parts.join("\n");
}
