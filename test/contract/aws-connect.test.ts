import { spawnSync } from "node:child_process";
import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { connect as openSocket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { toTasklaneError } from "../../lib/aws/aws-errors.ts";
import { makeClients } from "../../lib/aws/clients.ts";
import { connect, resolveTopology } from "../../lib/connect.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import { systemClock, systemRandom } from "../../lib/system.ts";
import type { Topology } from "../../lib/task/topology.ts";

const topology: Topology = {
  queue: "mail-out",
  lanes: { normal: { url: "https://sqs/x" } },
  table: "mail-out",
  bucket: "b",
};
const json = JSON.stringify(topology);
let folder: string;

beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), "tasklane-"));
});
afterAll(() => rmSync(folder, { recursive: true }));

describe("the topology is found", () => {
  test("in the argument first", async () => {
    expect(await resolveTopology(topology, undefined, { TASKLANE_TOPOLOGY: "{}" })).toEqual(topology);
  });

  test("in the variable of the queue before the one for all", async () => {
    const other = JSON.stringify({ ...topology, queue: "other" });
    const environment = { TASKLANE_TOPOLOGY: other, TASKLANE_TOPOLOGY_MAIL_OUT: ` ${json}\n` };
    expect(await resolveTopology(undefined, "mail-out", environment)).toEqual(topology);
    expect(await resolveTopology(undefined, undefined, environment)).toMatchObject({ queue: "other" });
  });

  test("in a file, even in the outputs of a deploy", async () => {
    const [plain, outputs] = [join(folder, "topology.json"), join(folder, "outputs.json")];
    writeFileSync(plain, json);
    writeFileSync(outputs, JSON.stringify({ Stack: { Topology: json, Other: "x" } }));
    expect(await resolveTopology(undefined, undefined, { TASKLANE_TOPOLOGY: plain })).toEqual(topology);
    expect(await resolveTopology(undefined, "mail-out", { TASKLANE_TOPOLOGY: outputs })).toEqual(topology);
  });

  test("in what a cdk outputs file holds, and refused where it is something else", async () => {
    expect(await resolveTopology(JSON.parse(JSON.stringify({ Stack: { Topology: json } })), "mail-out")).toEqual(
      topology,
    );
    for (const wrong of [
      {},
      { lanes: {} },
      { ...topology, lanes: { normal: "https://sqs/x" } },
      null,
      "mail-out",
      { ...topology, endpoint: { sqs: "http://127.0.0.1" } },
    ])
      await expect(resolveTopology(JSON.parse(JSON.stringify(wrong)))).rejects.toMatchObject({
        code: "TOPOLOGY_INVALID",
      });
  });

  test("and never that of another queue", async () => {
    await expect(resolveTopology(topology, "other")).rejects.toMatchObject({ code: "TOPOLOGY_MISSING" });
    await expect(resolveTopology(Reflect.apply(Object, undefined, [() => topology]))).rejects.toMatchObject({
      code: "TOPOLOGY_INVALID",
    });
  });

  test("and not as the path of a file, which only the variable takes", async () => {
    await expect(resolveTopology(JSON.parse('"outputs.json"'))).rejects.toThrow(
      /set TASKLANE_TOPOLOGY.*path of its file/,
    );
    const url: unknown = new URL("file:///outputs.json");
    await expect(resolveTopology(url as undefined)).rejects.toThrow(/is a text or a URL/);
  });

  test("or missed with both ways to give it", async () => {
    await expect(resolveTopology(undefined, undefined, { TASKLANE_TOPOLOGY: " " })).rejects.toMatchObject({
      code: "TOPOLOGY_MISSING",
      fix: expect.stringMatching(/\{ topology \}.*TASKLANE_TOPOLOGY/s),
    });
    await expect(resolveTopology(undefined, "a.b", {})).rejects.toThrow("TASKLANE_TOPOLOGY_A_B or TASKLANE_TOPOLOGY");
    await expect(resolveTopology(undefined, "a.b", { TASKLANE_TOPOLOGY: json })).rejects.toThrow(
      "is that of another queue",
    );
  });

  test("or refused with where it came from", async () => {
    for (const value of ["{", "{}", '{"lanes":{}}', join(folder, "nothing.json")]) {
      await expect(resolveTopology(undefined, undefined, { TASKLANE_TOPOLOGY: value })).rejects.toMatchObject({
        code: "TOPOLOGY_INVALID",
        message: expect.stringContaining("TASKLANE_TOPOLOGY"),
      });
    }
  });
});

describe("clients", () => {
  const credentialsFor = (endpoint: string) => makeClients({ endpoint }).sqs.config.credentials();

  test("are given test credentials only for a plain connection to this machine", async () => {
    for (const endpoint of [
      "http://127.0.0.1:4566",
      "http://localhost:4566",
      "http://[::1]:4566",
      "http://sqs.localhost",
    ])
      expect(await credentialsFor(endpoint)).toMatchObject({ accessKeyId: "test" });
    const { sqs } = makeClients({ region: "eu-west-1" }, {});
    expect(await sqs.config.region()).toBe("eu-west-1");
    const own = makeClients({ endpoint: "https://aws.example.com" });
    expect(own.dynamodb.config.credentials).not.toBe(undefined);
    for (const endpoint of ["https://127.0.0.1:4566", "http://10.0.0.1:4566", "http://127.0.0.1.example.com"]) {
      const found = await credentialsFor(endpoint).catch(() => undefined);
      expect(found?.accessKeyId).not.toBe("test");
    }
  });

  test("that are given are used, and stay open", async () => {
    const given = makeClients({ endpoint: "http://127.0.0.1:1" });
    const made = makeClients({ endpoint: "http://127.0.0.1:2" }, { sqs: given.sqs });
    expect(made.sqs).toBe(given.sqs);
    expect(made.dynamodb).not.toBe(given.dynamodb);
  });
});

describe("credentials that cannot be loaded", () => {
  const failure = Object.assign(new Error("Could not load credentials"), { name: "CredentialsProviderError" });
  const fix = (): string | undefined => toTasklaneError(failure, { action: "dynamodb:PutItem", resource: "t" }).fix;
  afterEach(() => vi.unstubAllEnvs());

  test("are laid to the profile where one is named, since it goes before the others", () => {
    vi.stubEnv("AWS_PROFILE", "me");
    expect(fix()).toMatch(/^AWS_PROFILE is "me".*or unset it$/);
    vi.stubEnv("AWS_PROFILE", "");
    expect(fix()).toMatch(/^set AWS_PROFILE, or AWS_ACCESS_KEY_ID/);
  });
});

describe("the embedded stack", () => {
  let stack: EmbeddedStack;
  beforeAll(async () => {
    stack = await startEmbeddedStack();
  });
  afterAll(() => stack.close());

  test("says which Node it needs, where this one has no SQLite", () => {
    const url = new URL("../../lib/local/embedded-stack.ts", import.meta.url);
    const script = `const { startEmbeddedStack } = await import("${url.href}"); await startEmbeddedStack();`;
    const options = ["--no-experimental-sqlite", "--input-type=module", "--eval", script];
    const { status, stderr } = spawnSync(process.execPath, options, { encoding: "utf8" });
    expect(status).not.toBe(0);
    expect(stderr).toMatch(/RUNTIME_TOO_OLD: This version of Node lacks what fauxqs needs\..*Fix: install Node 24/);
  });

  test("listens on 127.0.0.1 only", async () => {
    // A server on every interface answers at the loopback's other addresses too.
    for (const url of Object.values(stack.endpoints)) {
      const port = Number(new URL(url).port);
      expect(await Promise.all(["127.0.0.1", "127.0.0.2", "::1"].map((host) => answersAt(host, port)))).toEqual([
        true,
        false,
        false,
      ]);
    }
  });

  function answersAt(host: string, port: number): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = openSocket(port, host, () => {
        socket.destroy();
        resolve(true);
      });
      socket.on("error", () => resolve(false));
    });
  }

  test("takes the ports it is told", async () => {
    const first = await startEmbeddedStack();
    await first.close();
    const [sqsPort, dynamodbPort] = [first.endpoints.sqs, first.endpoints.dynamodb].map((url) =>
      Number(new URL(url).port),
    );
    const again = await startEmbeddedStack({ sqsPort, dynamodbPort });
    expect(again.endpoints).toEqual(first.endpoints);
    await again.close();
  });

  test("survives clients that are killed in the middle of a call", async () => {
    const { backend } = await connect(await provision({ queue: "killed" }, { endpoint: stack.endpoints }), undefined);
    const body = JSON.stringify({ TableName: "killed", Key: { pk: { S: "x" }, sk: { S: "-" } } });
    const head = [
      "POST / HTTP/1.1",
      "host: x",
      "content-type: application/x-amz-json-1.0",
      "x-amz-target: DynamoDB_20120810.GetItem",
      "x-amz-date: 20260101T000000Z",
      "authorization: AWS4-HMAC-SHA256 Credential=a/b/c/d/e, SignedHeaders=host, Signature=0",
      `content-length: ${body.length}`,
      "",
      "",
    ].join("\r\n");
    for (const url of [stack.endpoints.dynamodb, stack.endpoints.sqs]) {
      for (const part of [head, head + body.slice(0, 9), head + body, `${head}${body}${head}`]) {
        for (let times = 0; times < 20; times++) await sendAndDie(Number(new URL(url).port), part);
      }
    }
    expect(await backend.ledger.readMany(["x"])).toEqual([undefined]);
    expect(await backend.queue.depth({ lane: "normal" })).toMatchObject({ visible: 0 });
    backend.close();
  });

  function sendAndDie(port: number, text: string): Promise<void> {
    return new Promise((resolve) => {
      const socket = openSocket(port, "127.0.0.1", () => {
        socket.write(text, () => socket.resetAndDestroy());
      });
      socket.on("error", () => undefined);
      socket.on("close", () => resolve());
    });
  }
});

describe("packages that are not installed", () => {
  /** Runs a program on a copy of lib that finds no packages. */
  function runWithoutPackages(program: string): { stdout: string; stderr: string } {
    const copy = mkdtempSync(join(folder, "bare-"));
    cpSync(fileURLToPath(new URL("../../lib", import.meta.url)), join(copy, "lib"), { recursive: true });
    writeFileSync(join(copy, "package.json"), '{"type":"module"}');
    writeFileSync(join(copy, "program.ts"), program);
    return spawnSync(process.execPath, [join(copy, "program.ts")], { encoding: "utf8" });
  }

  test("of the SDK are named with the line that installs them", () => {
    const { stdout, stderr } = runWithoutPackages(`
      import { connect } from "./lib/connect.ts";
      await connect(${json}, undefined).catch((error) => console.log(error.code, error.fix));
    `);
    expect(stdout + stderr).toContain("npm install @aws-sdk/client-sqs @aws-sdk/client-dynamodb @aws-sdk/client-s3");
  });

  test("of the embedded stack are named with the line that installs them", () => {
    const { stdout, stderr } = runWithoutPackages(`
      import { startEmbeddedStack } from "./lib/local/embedded-stack.ts";
      await startEmbeddedStack().catch((error) => console.log(error.code, error.fix));
    `);
    expect(stdout + stderr).toContain("LOCAL_STACK_MISSING npm install --save-dev fauxqs dynalite");
  });
});

describe("the real clock and chance", () => {
  test("ids sort by time and never repeat", () => {
    const ids = [1_000, 1_001, 2_000_000_000_000].flatMap((now) =>
      Array.from({ length: 500 }, () => systemRandom.id(now)),
    );
    expect(new Set(ids).size).toBe(1_500);
    for (const id of ids) expect(id).toMatch(/^[0-9a-f]{32}$/);
    const times = ids.map((id) => id.slice(0, 12));
    expect(times).toEqual([...times].sort());
    expect(systemRandom.token()).toMatch(/^[\w-]{16}$/);
  });

  test("timers ring once, unless they are cancelled", async () => {
    const rung: string[] = [];
    systemClock.timer(1, () => rung.push("cancelled")).cancel();
    await new Promise<void>((resolve) => {
      systemClock.timer(5, () => {
        rung.push("rung");
        resolve();
      });
    });
    expect(rung).toEqual(["rung"]);
  });

  test("whoever waits alone in a process is answered", () => {
    const source = fileURLToPath(new URL("../../lib/system.ts", import.meta.url));
    const program = `import { systemClock } from ${JSON.stringify(source)};
      await new Promise((resolve) => systemClock.timer(20, resolve)); console.log("answered");`;
    const ended = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", program], { encoding: "utf8" });
    expect(ended.stdout + ended.stderr).toContain("answered");
  });
});
