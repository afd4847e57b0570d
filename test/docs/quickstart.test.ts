import type { ChildProcess } from "node:child_process";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer, request as send } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, describe, expect, onTestFinished, test } from "vitest";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import type { Endpoints } from "../../lib/task/topology.ts";
import { parseTopology } from "../../lib/task/topology.ts";

const MINUTE_MS = 60_000;
const pathOf = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const HOOK = new URL("../support/resolve-own-name.ts", import.meta.url).href;

let folder: string;
const running: Program[] = [];

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "quickstart-"));
});

afterEach(async () => {
  for (const program of running.splice(0).reverse()) await program.end();
  rmSync(folder, { recursive: true });
});

describe("the quickstart, as processes", () => {
  test("on this machine: local.ts, worker.ts and app.ts do what the README says", { timeout: MINUTE_MS }, async () => {
    const local = start("local.ts");
    await local.says("topology.json says where");
    const env = { TASKLANE_TOPOLOGY: "topology.json" };
    const worker = start("worker.ts", env);

    const first = await start("app.ts", env).ended();
    expect(first).toMatchObject({ code: 0, errors: "" });
    const [, id] = /^accepted: (\S+)$/m.exec(first.output) ?? [];
    const [, file = ""] = /^sent: (.+)$/m.exec(first.output) ?? [];
    expect(readFileSync(file, "utf8")).toContain("To: ada@example.com");
    rmSync(file);

    const second = await start("app.ts", env).ended();
    expect(second).toMatchObject({ code: 0, output: `was there already: ${id}\nsent: ${file}\n`, errors: "" });
    // The second order was no second task: nobody has written the file again.
    expect(existsSync(file)).toBe(false);

    const lines = (await worker.end()).output.trim().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toMatchObject([
      { message: "worker started" },
      { message: "attempt ended", taskId: id, task: "send-receipt", attempt: 1, outcome: "succeeded" },
      { message: "worker stopped", reason: "signal" },
    ]);
    expect(worker.child.exitCode).toBe(0);
  });

  test("provision.ts makes the queue where AWS_ENDPOINT_URL points, and again changes nothing", {
    timeout: MINUTE_MS,
  }, async () => {
    const stack = await startEmbeddedStack();
    onTestFinished(() => stack.close());
    const env = { AWS_ENDPOINT_URL: await startFront(stack.endpoints) };
    const made = [];
    for (let round = 0; round < 2; round++) {
      expect(await start("provision.ts", env).ended()).toMatchObject({ code: 0, errors: "" });
      made.push(parseTopology(readFileSync(join(folder, "topology.json"), "utf8"), "topology.json"));
    }
    expect(made[0]).toMatchObject({ queue: "shop", table: "shop", bucket: "shop-payloads" });
    expect(made[1]).toEqual(made[0]);
  });
});

interface Ended {
  readonly code: number | null;
  readonly output: string;
  readonly errors: string;
}

/** A program of the quickstart, started by plain Node in a folder of its own. */
interface Program {
  readonly child: ChildProcess;
  /** Resolves when its output holds the words. */
  says(words: string): Promise<void>;
  /** Resolves when it has ended by itself. */
  ended(): Promise<Ended>;
  /** Ends it as a terminal's Ctrl-C does. */
  end(): Promise<Ended>;
}

function start(file: string, env: Readonly<Record<string, string>> = {}): Program {
  const child = spawn(process.execPath, ["--import", HOOK, pathOf(`examples/quickstart/${file}`)], {
    cwd: folder,
    env: { PATH: process.env["PATH"], TMPDIR: folder, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  let output = "";
  let errors = "";
  child.stdout.setEncoding("utf8").on("data", (text: string) => (output += text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  const closed = once(child, "close");
  const ended = async (): Promise<Ended> => {
    await closed;
    return { code: child.exitCode, output, errors };
  };
  const program: Program = {
    child,
    ended,
    says: async (words) => {
      while (!output.includes(words)) {
        const said = await Promise.race([once(child.stdout, "data").then(() => true), closed.then(() => false)]);
        if (!said && !output.includes(words)) throw new Error(`${file} ended without "${words}": ${output}${errors}`);
      }
    },
    end: async () => {
      child.kill("SIGINT");
      return ended();
    },
  };
  running.push(program);
  return program;
}

/** One address for all three services, as LocalStack has it: DynamoDB's calls name it in a header. */
async function startFront(endpoints: Endpoints): Promise<string> {
  const server = createServer((incoming, response) => {
    const isTable = String(incoming.headers["x-amz-target"]).startsWith("DynamoDB");
    const to = new URL(incoming.url ?? "/", isTable ? endpoints.dynamodb : endpoints.sqs);
    const outgoing = send(to, { method: incoming.method ?? "GET", headers: incoming.headers }, (answer) => {
      response.writeHead(answer.statusCode ?? 502, answer.headers);
      answer.pipe(response);
    });
    outgoing.on("error", () => response.destroy());
    incoming.pipe(outgoing);
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return `http://127.0.0.1:${port}`;
}
