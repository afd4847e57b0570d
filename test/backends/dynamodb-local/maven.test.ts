import { existsSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { afterEach, beforeEach, describe, expect, test, vi } from "vitest";
import { fetchJars } from "../../../scripts/emulators/maven.ts";

const ARTEFACT = { group: "org.eclipse.jdt", name: "ecj", version: "3.38.0" };
/** What Maven's own start script calls, and what unpacks it. */
const COMMANDS = ["java", "tar", "gzip", "sh", "uname", "dirname", "basename", "ls", "expr", "cat"];

describe("where there is no Maven", () => {
  let folder: string;

  beforeEach(() => {
    folder = mkdtempSync(join(tmpdir(), "tasklane-maven-"));
    vi.stubEnv("TASKLANE_EMULATOR_CACHE", join(folder, "cache"));
    const bin = join(folder, "bin");
    mkdirSync(bin);
    const places = (process.env["PATH"] ?? "").split(delimiter);
    for (const command of COMMANDS) {
      const place = places.find((each) => existsSync(join(each, command)));
      if (place !== undefined) symlinkSync(join(place, command), join(bin, command));
    }
    vi.stubEnv("PATH", bin);
  });
  afterEach(() => {
    vi.unstubAllEnvs();
    rmSync(folder, { recursive: true, force: true });
  });

  test("one is brought from Maven Central", { timeout: 300_000 }, async () => {
    await fetchJars(folder, [ARTEFACT]);
    expect(existsSync(join(folder, "jars", "ecj-3.38.0.jar"))).toBe(true);
  });

  test("a mirror that gives something else is refused, and one that gives nothing is named", async () => {
    const asked: (string | undefined)[] = [];
    const server = createServer((request, response) => {
      asked.push(request.url);
      if (asked.length > 1) response.statusCode = 404;
      response.end("no Maven");
    });
    await new Promise<void>((listening) => server.listen(0, "127.0.0.1", listening));
    try {
      const mirror = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
      vi.stubEnv("MVNW_REPOURL", mirror);
      await expect(fetchJars(folder, [ARTEFACT])).rejects.toThrow(/is not what was published: its SHA-512 is /);
      await expect(fetchJars(folder, [ARTEFACT])).rejects.toThrow(`answered 404. Install Maven, or name a mirror`);
      expect(asked[0]).toMatch(/^\/org\/apache\/maven\/apache-maven\/.*-bin\.tar\.gz$/);
      expect(existsSync(join(folder, "jars"))).toBe(false);
    } finally {
      server.close();
    }
  });
});
