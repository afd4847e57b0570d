import { createHash } from "node:crypto";
import { accessSync, constants, rmSync, writeFileSync } from "node:fs";
import { delimiter, join } from "node:path";
import { installOnce, run } from "./install.ts";
import { MAVEN_SHA512, VERSIONS } from "./versions.ts";

const MAVEN_CENTRAL = "https://repo1.maven.org/maven2";
const DOWNLOAD_MAX_MS = 300_000;

/** A published artefact, as Maven names it. */
export interface Artefact {
  readonly group: string;
  readonly name: string;
  readonly version: string;
}

/** Puts artefacts with all that they need at run time into the folder `jars`. */
export async function fetchJars(folder: string, artefacts: readonly Artefact[]): Promise<void> {
  const dependencies = artefacts.map(
    ({ group, name, version }) =>
      `<dependency><groupId>${group}</groupId><artifactId>${name}</artifactId><version>${version}</version></dependency>`,
  );
  writeFileSync(
    join(folder, "pom.xml"),
    `<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
<groupId>emulators</groupId><artifactId>jars</artifactId><version>1</version>
<dependencies>${dependencies.join("\n")}</dependencies></project>\n`,
  );
  const command = isOnPath("mvn") ? "mvn" : await ownMaven();
  await run(
    command,
    ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${join(folder, "jars")}`],
    folder,
  );
}

function isOnPath(command: string): boolean {
  return (process.env["PATH"] ?? "").split(delimiter).some((folder) => {
    try {
      accessSync(join(folder, command), constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
}

/** Where there is no Maven, one of our own; a mirror is named as Maven's wrapper has it, by `MVNW_REPOURL`. */
async function ownMaven(): Promise<string> {
  const name = `apache-maven-${VERSIONS.maven}`;
  const folder = await installOnce(name, async (target) => {
    const repository = process.env["MVNW_REPOURL"] ?? MAVEN_CENTRAL;
    const url = `${repository}/org/apache/maven/apache-maven/${VERSIONS.maven}/${name}-bin.tar.gz`;
    const archive = join(target, "maven.tar.gz");
    writeFileSync(archive, await download(url, MAVEN_SHA512));
    await run("tar", ["-xzf", archive, "--strip-components=1"], target);
    rmSync(archive);
  });
  return join(folder, "bin", "mvn");
}

async function download(url: string, sha512: string): Promise<Buffer> {
  const response = await fetch(url, { signal: AbortSignal.timeout(DOWNLOAD_MAX_MS) });
  if (!response.ok)
    throw new Error(`${url} answered ${response.status}. Install Maven, or name a mirror by MVNW_REPOURL.`);
  const content = Buffer.from(await response.arrayBuffer());
  const found = createHash("sha512").update(content).digest("hex");
  if (found !== sha512) throw new Error(`${url} is not what was published: its SHA-512 is ${found}, not ${sha512}`);
  return content;
}
