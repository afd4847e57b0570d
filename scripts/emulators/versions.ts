/*
 * What the emulators are, and at which versions they are held. docs/backends.md has a table made of this.
 */

/** An emulator that a suite can ask for. */
export type EmulatorName = "localstack" | "ministack" | "dynamodb-local" | "elasticmq";

/**
 * LocalStack's last line that needs no token is 4.14; without Docker it is installed from PyPI at 4.13.1, since 4.14 wants Python 3.13.
 * DynamoDB Local 3.x is not in Maven Central.
 */
export const VERSIONS = {
  localstack: "4.14.0",
  localstackHost: "4.13.1",
  ministack: "1.5.33",
  dynamodbLocal: "2.6.1",
  elasticmq: "1.7.1",
  uv: "0.13.9",
  byteBuddy: "1.17.5",
  ecj: "3.38.0",
  maven: "3.9.16",
} as const;

/** Of Maven's archive at that version, as its publishers state it. */
export const MAVEN_SHA512: string =
  "831a8591fe20c8243b1dbe7d71e3244f31d1665b0804b2e825e38cbbe5ce0cafb8338851f90780735568773e0a6cd07bbec107cda0b896b008b861075358b6f6";

/** LocalStack's dependencies as of this day: later releases of cbor2 and pyOpenSSL break it. */
export const LOCALSTACK_DEPENDENCIES_AS_OF = "2026-02-20";

/** The image, where there is a Docker engine. `compose.yaml` names the same. */
export const LOCALSTACK_IMAGE: string = `localstack/localstack:${VERSIONS.localstack}`;

/** What runs at which version, as docs/backends.md has it. */
export function drawVersions(): string {
  const rows = [
    ["LocalStack in a container", VERSIONS.localstack, "Docker Hub; later releases need a token"],
    ["LocalStack without Docker", VERSIONS.localstackHost, "PyPI; 4.14 needs Python 3.13"],
    ["MiniStack", VERSIONS.ministack, "PyPI"],
    ["DynamoDB Local", VERSIONS.dynamodbLocal, "Maven Central; also inside LocalStack without Docker"],
    ["ElasticMQ", VERSIONS.elasticmq, "Maven Central"],
  ];
  return ["| emulator | version | from |", "| --- | --- | --- |", ...rows.map((row) => `| ${row.join(" | ")} |`)].join(
    "\n",
  );
}
