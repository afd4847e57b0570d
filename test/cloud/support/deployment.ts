import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { CloudFormationClient, DescribeStackResourcesCommand } from "@aws-sdk/client-cloudformation";
import { DeleteObjectsCommand, GetObjectCommand, ListObjectsV2Command, S3Client } from "@aws-sdk/client-s3";
import type { TasklaneClient, Topology } from "../../../lib/index.ts";
import { createClient } from "../../../lib/index.ts";
import { parseTopology } from "../../../lib/task/topology.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const CDK_MAX_MS = 240_000;

/** How an emulator's SDK clients are made. */
export function sdkAt(endpoint: string): {
  endpoint: string;
  region: string;
  credentials: { accessKeyId: string; secretAccessKey: string };
} {
  return { endpoint, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } };
}

/** An app of the CDK, deployed to an emulator by the real command. */
export class Deployment {
  readonly endpoint: string;
  readonly #emulator: string;
  readonly #app: string;
  readonly #folder: string = mkdtempSync(join(tmpdir(), "tasklane-cdk-"));
  #outputs: Readonly<Record<string, Readonly<Record<string, string>>>> = {};

  constructor(endpoint: string, emulator: string, app: string = "infra/app.ts") {
    this.endpoint = endpoint;
    this.#emulator = emulator;
    this.#app = app;
  }

  /** Runs `cdk bootstrap`. */
  bootstrap(): Promise<string> {
    return this.#cdk("bootstrap", "aws://000000000000/us-east-1");
  }

  /** Runs `cdk deploy`, and reads its outputs file. */
  async deploy(...args: readonly string[]): Promise<string> {
    const outputs = join(this.#folder, "outputs.json");
    const output = await this.#cdk(
      "deploy",
      "--all",
      "--require-approval",
      "never",
      "--outputs-file",
      outputs,
      ...args,
    );
    this.#outputs = JSON.parse(readFileSync(outputs, "utf8"));
    return output;
  }

  /** Runs `cdk destroy`, with the buckets emptied first: what does it at AWS is a custom resource that emulators cannot run. */
  async destroy(): Promise<string> {
    for (const stack of Object.keys(this.#outputs))
      for (const bucket of await this.buckets(stack)) await this.#empty(bucket);
    return this.#cdk("destroy", "--all", "--force");
  }

  /** Removes what the command left on disk. */
  close(): void {
    rmSync(this.#folder, { recursive: true, force: true });
  }

  /** An output of a stack, by the beginning of its name. */
  output(stack: string, name: string): string {
    const found = Object.entries(this.#outputs[stack] ?? {}).find(([key]) => key.startsWith(name));
    if (found === undefined) throw new Error(`${stack} has no output ${name}: ${JSON.stringify(this.#outputs)}`);
    return found[1];
  }

  /** The topology of a queue, as its output tells it, at this endpoint. */
  topology(stack: string, queue: string): Topology {
    return { ...parseTopology(this.output(stack, `${queue}Topology`), `output of ${stack}`), endpoint: this.endpoint };
  }

  /** A client of a queue. */
  client(stack: string, queue: string): TasklaneClient {
    return createClient({ topology: this.topology(stack, queue) });
  }

  /** The physical id of a resource, by the beginning of its logical one and its type. */
  async resource(stack: string, logicalId: string, type: string): Promise<string> {
    const { StackResources = [] } = await new CloudFormationClient(sdkAt(this.endpoint)).send(
      new DescribeStackResourcesCommand({ StackName: stack }),
    );
    const found = StackResources.find(
      ({ LogicalResourceId = "", ResourceType }) => LogicalResourceId.startsWith(logicalId) && ResourceType === type,
    );
    if (found?.PhysicalResourceId === undefined) throw new Error(`${stack} has no ${type} ${logicalId}`);
    return found.PhysicalResourceId;
  }

  /** The keys in a bucket. */
  async keys(bucket: string): Promise<string[]> {
    const { Contents = [] } = await this.#s3().send(new ListObjectsV2Command({ Bucket: bucket }));
    return Contents.flatMap(({ Key }) => (Key === undefined ? [] : [Key])).toSorted();
  }

  /** An object's bytes. */
  async read(bucket: string, key: string): Promise<Buffer> {
    const { Body } = await this.#s3().send(new GetObjectCommand({ Bucket: bucket, Key: key }));
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  }

  /** The buckets of a stack. */
  async buckets(stack: string): Promise<string[]> {
    const { StackResources = [] } = await new CloudFormationClient(sdkAt(this.endpoint)).send(
      new DescribeStackResourcesCommand({ StackName: stack }),
    );
    return StackResources.flatMap(({ ResourceType, PhysicalResourceId }) =>
      ResourceType === "AWS::S3::Bucket" && PhysicalResourceId !== undefined ? [PhysicalResourceId] : [],
    );
  }

  async #empty(bucket: string): Promise<void> {
    const keys = await this.keys(bucket);
    if (keys.length === 0) return;
    await this.#s3().send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }),
    );
  }

  #s3(): S3Client {
    return new S3Client({ ...sdkAt(this.endpoint), forcePathStyle: true });
  }

  #cdk(...args: readonly string[]): Promise<string> {
    const command = [
      join(ROOT, "node_modules/aws-cdk/bin/cdk"),
      ...args,
      "--app",
      `node ${this.#app}`,
      "--context",
      `emulator=${this.#emulator}`,
      "--output",
      join(this.#folder, "cdk.out"),
      "--ci",
    ];
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, command, {
        cwd: ROOT,
        stdio: ["ignore", "pipe", "pipe"],
        timeout: CDK_MAX_MS,
        env: {
          ...process.env,
          // The app runs on the Node that runs the tests.
          PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter),
          AWS_ENDPOINT_URL: this.endpoint,
          AWS_ACCESS_KEY_ID: "test",
          AWS_SECRET_ACCESS_KEY: "test",
          AWS_REGION: "us-east-1",
          AWS_DEFAULT_REGION: "us-east-1",
          CDK_DISABLE_CLI_TELEMETRY: "true",
        },
      });
      let output = "";
      const note = (chunk: Buffer): void => void (output += chunk.toString());
      child.stdout.on("data", note);
      child.stderr.on("data", note);
      child.on("error", reject);
      child.on("close", (status) => {
        if (status === 0) resolve(output);
        else reject(new Error(`cdk ${args[0]} ended with status ${status}:\n${output.slice(-4_000)}`));
      });
    });
  }
}

/** Asks every so often until an answer is right. @throws Error with the last answer if none was in time */
export async function until<Answer>(
  ask: () => Promise<Answer>,
  isRight: (answer: Answer) => boolean,
  { withinMs, everyMs = 500 }: { withinMs: number; everyMs?: number },
): Promise<Answer> {
  const end = Date.now() + withinMs;
  for (;;) {
    const answer = await ask();
    if (isRight(answer)) return answer;
    if (Date.now() > end) throw new Error(`not so within ${withinMs} ms; the last answer: ${JSON.stringify(answer)}`);
    await new Promise((resolve) => setTimeout(resolve, everyMs));
  }
}
