import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { run } from "./install.ts";

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
  await run(
    "mvn",
    ["-q", "-B", "dependency:copy-dependencies", "-DincludeScope=runtime", `-DoutputDirectory=${join(folder, "jars")}`],
    folder,
  );
}
