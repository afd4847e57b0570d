import { GetBucketLifecycleConfigurationCommand, PutBucketLifecycleConfigurationCommand } from "@aws-sdk/client-s3";
import { CreateTableCommand, DescribeTableCommand } from "@aws-sdk/client-dynamodb";
import { GetQueueAttributesCommand, SetQueueAttributesCommand } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { AwsClients } from "../../lib/aws/clients.ts";
import { makeClients } from "../../lib/aws/clients.ts";
import type { EmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { provision } from "../../lib/provision.ts";
import type { Endpoints } from "../../lib/task/topology.ts";
import { parseTopology } from "../../lib/task/topology.ts";
import type { InterferingProxy } from "../support/interfering-proxy.ts";
import { jsonReply, startProxy } from "../support/interfering-proxy.ts";

let stack: EmbeddedStack;
let clients: AwsClients;
let proxies: { sqs: InterferingProxy; dynamodb: InterferingProxy };
let endpoint: Endpoints;

beforeAll(async () => {
  stack = await startEmbeddedStack();
  clients = makeClients({ endpoint: stack.endpoints });
  proxies = { sqs: await startProxy(stack.endpoints.sqs), dynamodb: await startProxy(stack.endpoints.dynamodb) };
  // SQS and S3 share the embedded service's port.
  endpoint = { sqs: proxies.sqs.url, s3: proxies.sqs.url, dynamodb: proxies.dynamodb.url };
});
afterAll(async () => {
  clients.close();
  await proxies.sqs.close();
  await proxies.dynamodb.close();
  await stack.close();
});
beforeEach(() => {
  for (const proxy of Object.values(proxies)) {
    proxy.interfere();
    proxy.calls.length = 0;
  }
});

const callNames = (): string[] =>
  [...proxies.sqs.calls, ...proxies.dynamodb.calls].map(({ name }) => name.replace(/^\w+\./, ""));
const writesOf = (): string[] => callNames().filter((name) => !/^(?:Get|Describe|HEAD|GET)/.test(name));

async function attributesOf(url: string): Promise<Record<string, string | undefined>> {
  const answer = await clients.sqs.send(new GetQueueAttributesCommand({ QueueUrl: url, AttributeNames: ["All"] }));
  return answer.Attributes ?? {};
}

describe("provision", () => {
  test("creates the queues of each lane, bound to each other", async () => {
    const topology = await provision(
      { queue: "made.here", lanes: ["high", "normal"], maxBacklog: { high: 50 } },
      { endpoint },
    );
    expect(topology).toEqual({
      queue: "made.here",
      region: "us-east-1",
      endpoint,
      lanes: {
        high: {
          url: `${endpoint.sqs}/000000000000/made_here-high`,
          dlq: `${endpoint.sqs}/000000000000/made_here-high-dlq`,
          maxBacklog: 50,
        },
        normal: {
          url: `${endpoint.sqs}/000000000000/made_here-normal`,
          dlq: `${endpoint.sqs}/000000000000/made_here-normal-dlq`,
          maxBacklog: 1_000_000,
        },
      },
      table: "made.here",
      bucket: "made-here-payloads",
    });
    expect(parseTopology(JSON.stringify(topology), "test")).toEqual(topology);
    const arn = "arn:aws:sqs:us-east-1:000000000000:made_here-high";
    const queue = await attributesOf(topology.lanes.high?.url ?? "");
    expect(queue).toMatchObject({
      QueueArn: arn,
      MessageRetentionPeriod: "345600",
      MaximumMessageSize: "1048576",
      ReceiveMessageWaitTimeSeconds: "20",
      SqsManagedSseEnabled: "true",
    });
    expect(JSON.parse(queue["RedrivePolicy"] ?? "")).toEqual({
      deadLetterTargetArn: `${arn}-dlq`,
      maxReceiveCount: 20,
    });
    const dlq = await attributesOf(topology.lanes.high?.dlq ?? "");
    expect(dlq).toMatchObject({
      MessageRetentionPeriod: "1209600",
      MaximumMessageSize: "1048576",
      SqsManagedSseEnabled: "true",
    });
    expect(JSON.parse(dlq["RedriveAllowPolicy"] ?? "")).toEqual({
      redrivePermission: "byQueue",
      sourceQueueArns: [arn],
    });
  });

  test("creates the table with three indexes, and the bucket with a rule for each life class", async () => {
    const topology = await provision({ queue: "shape" }, { endpoint });
    const { Table: table } = await clients.dynamodb.send(new DescribeTableCommand({ TableName: topology.table }));
    expect(table).toMatchObject({ TableStatus: "ACTIVE", BillingModeSummary: { BillingMode: "PAY_PER_REQUEST" } });
    const indexes = table?.GlobalSecondaryIndexes?.map(
      ({ IndexName: name, KeySchema: key, Projection: projection }) => [
        name,
        key?.map(({ AttributeName }) => AttributeName).join(),
        projection?.ProjectionType,
      ],
    );
    expect(indexes?.sort()).toEqual([
      ["created", "cs,ct", "KEYS_ONLY"],
      ["dead", "ds,da", "KEYS_ONLY"],
      ["owed", "os,oa", "KEYS_ONLY"],
    ]);
    const rules = await clients.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket: topology.bucket }));
    expect(rules.Rules?.map(({ Filter, Expiration, Status }) => [Filter?.Prefix, Expiration?.Days, Status])).toEqual([
      ["d30/", 30, "Enabled"],
      ["d100/", 100, "Enabled"],
      ["d400/", 400, "Enabled"],
    ]);
  });

  test("turns TTL on where the service has it", async () => {
    let isOn = false;
    proxies.dynamodb.interfere(async (call, forward) => {
      if (call.name.endsWith("DescribeTimeToLive"))
        return jsonReply(200, {
          TimeToLiveDescription: {
            TimeToLiveStatus: isOn ? "ENABLING" : "DISABLED",
            AttributeName: isOn ? "x" : undefined,
          },
        });
      if (!call.name.endsWith("UpdateTimeToLive")) return forward();
      isOn = true;
      return jsonReply(200, JSON.parse(call.body.toString()));
    });
    await provision({ queue: "ttl" }, { endpoint });
    const update = proxies.dynamodb.calls.find(({ name }) => name.endsWith("UpdateTimeToLive"));
    expect(JSON.parse(update?.body.toString() ?? "")).toMatchObject({
      TimeToLiveSpecification: { AttributeName: "x", Enabled: true },
    });
    proxies.dynamodb.calls.length = 0;
    await provision({ queue: "ttl" }, { endpoint });
    expect(proxies.dynamodb.count("UpdateTimeToLive")).toBe(0);
  });

  test("changes nothing the second time", async () => {
    const first = await provision({ queue: "twice" }, { endpoint });
    expect(writesOf().length).toBeGreaterThan(10);
    for (const proxy of Object.values(proxies)) proxy.calls.length = 0;
    expect(await provision({ queue: "twice" }, { endpoint })).toEqual(first);
    // The embedded service has no TTL, so that one is tried each time.
    expect(writesOf().filter((name) => name !== "UpdateTimeToLive")).toEqual([]);
    expect(callNames().length).toBeGreaterThan(10);
  });

  test("knows its own policies in another spelling", async () => {
    await provision({ queue: "spelt", lanes: ["normal"] }, { endpoint });
    proxies.sqs.calls.length = 0;
    proxies.sqs.interfere(async (call, forward) => {
      const reply = await forward();
      if (!call.name.endsWith("GetQueueAttributes")) return reply;
      const answer: { Attributes: Record<string, string> } = JSON.parse(reply.body.toString());
      const policy = answer.Attributes["RedrivePolicy"];
      if (policy !== undefined) {
        const { deadLetterTargetArn, maxReceiveCount }: Record<string, unknown> = JSON.parse(policy);
        answer.Attributes["RedrivePolicy"] = JSON.stringify(
          { maxReceiveCount: `${maxReceiveCount}`, deadLetterTargetArn },
          null,
          1,
        );
      }
      return jsonReply(reply.status, answer);
    });
    await provision({ queue: "spelt", lanes: ["normal"] }, { endpoint });
    expect(proxies.sqs.count("GetQueueAttributes")).toBe(2);
    expect(proxies.sqs.count("SetQueueAttributes")).toBe(0);
  });

  test("sets back what drifted, and nothing else", async () => {
    const { lanes } = await provision({ queue: "drift", lanes: ["normal"] }, { endpoint });
    const [url, dlq] = [lanes.normal?.url ?? "", lanes.normal?.dlq ?? ""];
    await clients.sqs.send(
      new SetQueueAttributesCommand({
        QueueUrl: url,
        Attributes: { MaximumMessageSize: "262144", VisibilityTimeout: "77", RedrivePolicy: "" },
      }),
    );
    await clients.sqs.send(
      new SetQueueAttributesCommand({ QueueUrl: dlq, Attributes: { MessageRetentionPeriod: "60" } }),
    );
    for (const proxy of Object.values(proxies)) proxy.calls.length = 0;
    await provision({ queue: "drift", lanes: ["normal"] }, { endpoint });
    const sets = proxies.sqs.calls.filter(({ name }) => name.endsWith("SetQueueAttributes"));
    expect(
      sets.map(({ body }) => Object.keys((JSON.parse(body.toString()) as { Attributes: object }).Attributes).sort()),
    ).toEqual([["MessageRetentionPeriod"], ["MaximumMessageSize", "RedrivePolicy"]]);
    expect(await attributesOf(url)).toMatchObject({ MaximumMessageSize: "1048576", VisibilityTimeout: "77" });
    expect(await attributesOf(dlq)).toMatchObject({ MessageRetentionPeriod: "1209600" });
  });

  test("leaves the key of a queue's owner, and other rules of the bucket", async () => {
    const spec = { queue: "owned", lanes: ["normal"] as const };
    const { lanes, bucket } = await provision(spec, { endpoint });
    const url = lanes.normal?.url ?? "";
    await clients.sqs.send(
      new SetQueueAttributesCommand({
        QueueUrl: url,
        Attributes: { KmsMasterKeyId: "alias/mine", SqsManagedSseEnabled: "false" },
      }),
    );
    const mine = { ID: "mine", Status: "Enabled", Filter: { Prefix: "mine/" }, Expiration: { Days: 1 } } as const;
    await clients.s3.send(
      new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration: { Rules: [mine] } }),
    );
    await provision(spec, { endpoint });
    expect(await attributesOf(url)).toMatchObject({ KmsMasterKeyId: "alias/mine", SqsManagedSseEnabled: "false" });
    const { Rules: rules } = await clients.s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket: bucket }));
    expect(rules?.map(({ ID }) => ID)).toEqual(["mine", "tasklane-d30", "tasklane-d100", "tasklane-d400"]);
  });

  test("works when several do it at once", async () => {
    const made = await Promise.all([1, 2, 3].map(() => provision({ queue: "together" }, { endpoint })));
    expect(made[1]).toEqual(made[0]);
    expect(made[2]).toEqual(made[0]);
  });

  test("refuses a table of another shape", async () => {
    await clients.dynamodb.send(
      new CreateTableCommand({
        TableName: "foreign",
        BillingMode: "PAY_PER_REQUEST",
        AttributeDefinitions: [{ AttributeName: "id", AttributeType: "S" }],
        KeySchema: [{ AttributeName: "id", KeyType: "HASH" }],
      }),
    );
    await expect(provision({ queue: "foreign" }, { endpoint })).rejects.toMatchObject({
      code: "TOPOLOGY_INVALID",
      message: expect.stringContaining('Received: "key id, indexes none"'),
    });
  });

  test("says what is wrong with the spec before it makes a call", async () => {
    await expect(provision({ queue: "No Such Name" }, { endpoint })).rejects.toMatchObject({
      code: "DEFINITION_INVALID",
    });
    await expect(provision({ lanes: ["high"] }, { endpoint })).rejects.toMatchObject({ code: "DEFINITION_INVALID" });
    expect(callNames()).toEqual([]);
  });

  test("names the action that was refused", async () => {
    proxies.sqs.interfere((call, forward) =>
      call.name.endsWith("CreateQueue")
        ? Promise.resolve(jsonReply(403, { __type: "com.amazonaws.sqs#AccessDenied", message: "not you" }))
        : forward(),
    );
    await expect(provision({ queue: "denied" }, { endpoint })).rejects.toMatchObject({
      code: "PERMISSION_DENIED",
      message: expect.stringMatching(/sqs:CreateQueue on queue "denied-\w+-dlq"/),
    });
  });

  test("makes the bucket's name unique where it has to be", async () => {
    const { bucket } = await provision({ queue: "suffix" }, { endpoint, bucketSuffix: "stage-7" });
    expect(bucket).toBe("suffix-payloads-stage-7");
  });
});
