import type { IncomingMessage, Server } from "node:http";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from "vitest";
import { GetObjectCommand } from "@aws-sdk/client-s3";
import { GetQueueUrlCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import { GetItemCommand } from "@aws-sdk/client-dynamodb";
import type { AwsClients, Target } from "../../lib/aws/clients.ts";
import { makeClients } from "../../lib/aws/clients.ts";

/** A queue's URL as an emulator gives it to callers that are somewhere else. */
const QUEUE_URLS = [
  "https://sqs.us-east-1.amazonaws.com/000000000000/mail-normal",
  "http://sqs.us-east-1.localhost.localstack.cloud:4566/000000000000/mail-normal",
];

describe("AWS_ENDPOINT_URL in a function's environment", () => {
  let server: Server;
  let port: number;
  const seen: IncomingMessage[] = [];

  beforeAll(async () => {
    server = createServer((request, response) => {
      seen.push(request);
      request.resume();
      response.setHeader("content-type", "application/x-amz-json-1.0");
      response.end("{}");
    });
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    ({ port } = server.address() as AddressInfo);
  });
  afterAll(() => new Promise((resolve) => server.close(resolve)));
  afterEach(() => {
    vi.unstubAllEnvs();
    seen.length = 0;
  });

  /** Calls each service once for each queue URL, and answers where the calls went. */
  async function callAll(target: Target, variables: Readonly<Record<string, string>>): Promise<string[]> {
    for (const [name, value] of Object.entries(variables)) vi.stubEnv(name, value);
    vi.stubEnv("AWS_REGION", "us-east-1");
    vi.stubEnv("AWS_ACCESS_KEY_ID", "from-the-environment");
    vi.stubEnv("AWS_SECRET_ACCESS_KEY", "secret");
    const clients: AwsClients = makeClients(target);
    for (const url of QUEUE_URLS)
      await clients.sqs.send(new SendMessageCommand({ QueueUrl: url, MessageBody: "x" })).catch(ignoreAnswer);
    await clients.sqs.send(new GetQueueUrlCommand({ QueueName: "mail-normal" })).catch(ignoreAnswer);
    await clients.dynamodb.send(new GetItemCommand({ TableName: "t", Key: { pk: { S: "x" } } })).catch(ignoreAnswer);
    const got = await clients.s3.send(new GetObjectCommand({ Bucket: "payloads", Key: "d30/x" })).catch(ignoreAnswer);
    await got?.Body?.transformToString();
    clients.close();
    return seen.map(({ method, headers, url }) => `${method} ${headers.host} ${url}`);
  }

  const EXPECTED = (host: string) => [
    ...["POST", "POST", "POST", "POST"].map((method) => `${method} ${host}:${port} /`),
    `GET ${host}:${port} /payloads/d30/x?x-id=GetObject`,
  ];

  test.each(["127.0.0.1", "localhost"])("is where every call goes, on %s", async (host) => {
    expect(await callAll({}, { AWS_ENDPOINT_URL: `http://${host}:${port}` })).toEqual(EXPECTED(host));
    for (const { headers } of seen) expect(headers.authorization).toContain("Credential=from-the-environment/");
  });

  test("may be given for each service alone", async () => {
    const url = `http://localhost:${port}`;
    const variables = { AWS_ENDPOINT_URL_SQS: url, AWS_ENDPOINT_URL_S3: url, AWS_ENDPOINT_URL_DYNAMODB: url };
    expect(await callAll({}, variables)).toEqual(EXPECTED("localhost"));
  });

  test("stands behind the endpoint that the topology names", async () => {
    const target = { endpoint: `http://127.0.0.1:${port}` };
    expect(await callAll(target, { AWS_ENDPOINT_URL: "http://127.0.0.1:1" })).toEqual(EXPECTED("127.0.0.1"));
  });
});

/** What comes back is no answer of the service's: only where the call went counts. */
function ignoreAnswer(): undefined {
  return undefined;
}
