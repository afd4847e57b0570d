import { spawn } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import type { StackResource } from "@aws-sdk/client-cloudformation";
import { CloudFormationClient, DescribeStackResourcesCommand } from "@aws-sdk/client-cloudformation";
import { DynamoDBClient, paginateListTables } from "@aws-sdk/client-dynamodb";
import { LambdaClient, paginateListFunctions } from "@aws-sdk/client-lambda";
import {
  DeleteObjectsCommand,
  GetObjectCommand,
  ListBucketsCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import { paginateListQueues, SQSClient } from "@aws-sdk/client-sqs";
import type { TasklaneClient, Topology } from "../../../lib/index.ts";
import { createClient } from "../../../lib/index.ts";
import { parseTopology } from "../../../lib/task/topology.ts";
import { messagesIn } from "../../support/queue-depth.ts";
import type { RolePolicies, TemplateResource } from "./role-policies.ts";
import { rolePoliciesOf } from "./role-policies.ts";

const ROOT = fileURLToPath(new URL("../../../", import.meta.url));
const CDK_MAX_MS = 240_000;
/** AWS takes its time over tables and functions. */
const CDK_ON_AWS_MAX_MS = 900_000;
const EMULATOR_ENVIRONMENT = {
  AWS_ACCESS_KEY_ID: "test",
  AWS_SECRET_ACCESS_KEY: "test",
  AWS_REGION: "us-east-1",
  AWS_DEFAULT_REGION: "us-east-1",
};

/** How SDK clients are made: those of an emulator, or AWS's own, with what the environment says. */
export function sdkAt(endpoint: string | undefined): {
  endpoint?: string;
  region?: string;
  credentials?: { accessKeyId: string; secretAccessKey: string };
} {
  if (endpoint === undefined) return {};
  return { endpoint, region: "us-east-1", credentials: { accessKeyId: "test", secretAccessKey: "test" } };
}

/** An app of the CDK, deployed by the real command to an emulator, or to AWS where there is no endpoint. */
export class Deployment {
  readonly endpoint: string | undefined;
  readonly #context: Readonly<Record<string, string>>;
  #app: string;
  readonly #folder: string = mkdtempSync(join(tmpdir(), "tasklane-cdk-"));
  #outputs: Readonly<Record<string, Readonly<Record<string, string>>>> = {};

  /** `context` is passed on to the app, as `cdk --context` does. */
  constructor(
    endpoint: string | undefined,
    emulator: string,
    app: string = "infra/app.ts",
    context: Readonly<Record<string, string>> = {},
  ) {
    this.endpoint = endpoint;
    this.#context = { emulator, ...context };
    this.#app = app;
  }

  /** Runs `cdk bootstrap`. */
  bootstrap(): Promise<string> {
    return this.#cdk("bootstrap", ...(this.endpoint === undefined ? [] : ["aws://000000000000/us-east-1"]));
  }

  /** Runs `cdk deploy`, and reads its outputs file. Another app has to make the same stacks. */
  async deploy(app: string = this.#app): Promise<string> {
    this.#app = app;
    const outputs = join(this.#folder, "outputs.json");
    const output = await this.#cdk("deploy", "--all", "--require-approval", "never", "--outputs-file", outputs);
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
    const topology = parseTopology(this.output(stack, `${queue}Topology`), `output of ${stack}`);
    return this.endpoint === undefined ? topology : { ...topology, endpoint: this.endpoint };
  }

  /** A client of a queue. */
  client(stack: string, queue: string): TasklaneClient {
    return createClient({ topology: this.topology(stack, queue) });
  }

  /** The physical id of a resource, by the beginning of its logical one and its type. */
  async resource(stack: string, logicalId: string, type: string): Promise<string> {
    const found = (await this.#resources(stack)).find(
      ({ LogicalResourceId = "", ResourceType }) => LogicalResourceId.startsWith(logicalId) && ResourceType === type,
    );
    if (found?.PhysicalResourceId === undefined) throw new Error(`${stack} has no ${type} ${logicalId}`);
    return found.PhysicalResourceId;
  }

  /** What the roles of a stack may do, by the template that was deployed. */
  async rolePolicies(stack: string): Promise<RolePolicies> {
    const template = JSON.parse(readFileSync(join(this.#folder, "cdk.out", `${stack}.template.json`), "utf8")) as {
      Resources: Record<string, TemplateResource>;
    };
    const deployed = await this.#resources(stack);
    const ids = deployed.map(({ LogicalResourceId = "", PhysicalResourceId = "" }): [string, string] => [
      LogicalResourceId,
      PhysicalResourceId,
    ]);
    return rolePoliciesOf(template.Resources, Object.fromEntries(ids));
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

  /** Messages of a queue: visible, in flight and delayed, by SQS's own count. */
  async messages(url: string | undefined): Promise<number> {
    if (url === undefined) return 0;
    return messagesIn(new SQSClient(sdkAt(this.endpoint)), url);
  }

  /** The queues, tables, buckets and functions of the whole account whose names begin as a stack's do. */
  async leftOvers(stack: string): Promise<string[]> {
    const sdk = sdkAt(this.endpoint);
    const [queues, tables, buckets, functions] = await Promise.all([
      allOf(paginateListQueues({ client: new SQSClient(sdk), pageSize: 1_000 }, { QueueNamePrefix: stack })),
      allOf(paginateListTables({ client: new DynamoDBClient(sdk) }, {})),
      this.#s3().send(new ListBucketsCommand({})),
      allOf(paginateListFunctions({ client: new LambdaClient(sdk) }, {})),
    ]);
    const names = [
      ...queues.flatMap(({ QueueUrls = [] }) => QueueUrls).map((url) => url.slice(url.lastIndexOf("/") + 1)),
      ...tables.flatMap(({ TableNames = [] }) => TableNames),
      ...(buckets.Buckets ?? []).map(({ Name = "" }) => Name),
      ...functions.flatMap(({ Functions = [] }) => Functions).map(({ FunctionName = "" }) => FunctionName),
    ];
    return names.filter((name) => name.toLowerCase().startsWith(stack.toLowerCase()));
  }

  /** The buckets of a stack. */
  buckets(stack: string): Promise<string[]> {
    return this.#named(stack, "AWS::S3::Bucket");
  }

  /** The log groups of a stack. */
  logGroups(stack: string): Promise<string[]> {
    return this.#named(stack, "AWS::Logs::LogGroup");
  }

  async #named(stack: string, type: string): Promise<string[]> {
    return (await this.#resources(stack)).flatMap(({ ResourceType, PhysicalResourceId }) =>
      ResourceType === type && PhysicalResourceId !== undefined ? [PhysicalResourceId] : [],
    );
  }

  async #resources(stack: string): Promise<readonly StackResource[]> {
    const { StackResources = [] } = await new CloudFormationClient(sdkAt(this.endpoint)).send(
      new DescribeStackResourcesCommand({ StackName: stack }),
    );
    return StackResources;
  }

  async #empty(bucket: string): Promise<void> {
    const keys = await this.keys(bucket);
    if (keys.length === 0) return;
    await this.#s3().send(
      new DeleteObjectsCommand({ Bucket: bucket, Delete: { Objects: keys.map((Key) => ({ Key })) } }),
    );
  }

  #s3(): S3Client {
    return new S3Client({
      ...sdkAt(this.endpoint),
      forcePathStyle: (this.endpoint ?? process.env["AWS_ENDPOINT_URL"]) !== undefined,
    });
  }

  #cdk(...args: readonly string[]): Promise<string> {
    const command = [
      join(ROOT, "node_modules/aws-cdk/bin/cdk"),
      ...args,
      "--app",
      `node ${this.#app}`,
      ...Object.entries(this.#context).flatMap(([name, value]) => ["--context", `${name}=${value}`]),
      "--output",
      join(this.#folder, "cdk.out"),
      "--ci",
    ];
    return new Promise((resolve, reject) => {
      const child = spawn(process.execPath, command, {
        cwd: ROOT,
        stdio: ["ignore", "pipe", "pipe"],
        timeout: this.endpoint === undefined ? CDK_ON_AWS_MAX_MS : CDK_MAX_MS,
        env: {
          ...process.env,
          // The app runs on the Node that runs the tests.
          PATH: [dirname(process.execPath), process.env["PATH"]].join(delimiter),
          ...(this.endpoint === undefined ? {} : { ...EMULATOR_ENVIRONMENT, AWS_ENDPOINT_URL: this.endpoint }),
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

async function allOf<Page>(pages: AsyncIterable<Page>): Promise<Page[]> {
  const all: Page[] = [];
  for await (const page of pages) all.push(page);
  return all;
}
