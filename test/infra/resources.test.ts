import { Duration, RemovalPolicy } from "aws-cdk-lib";
import { Match } from "aws-cdk-lib/assertions";
import { Key } from "aws-cdk-lib/aws-kms";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import { LANES } from "../../lib/task/lane.ts";
import { Template } from "aws-cdk-lib/assertions";
import { makeStack, readable, resourcesOf, statementsOf, templateOf, WORKER_ENTRY } from "./support/synth.ts";

const template = templateOf();

describe("the queues of a lane", () => {
  const queues = Object.values(resourcesOf(template, "AWS::SQS::Queue")).map(({ Properties = {} }) => Properties);
  const sources = queues.filter((queue) => queue["RedrivePolicy"] !== undefined);
  const deadLetterQueues = queues.filter((queue) => queue["RedrivePolicy"] === undefined);

  test("are two for each of four lanes", () => {
    expect([sources.length, deadLetterQueues.length]).toEqual([4, 4]);
  });

  test("state 1 MiB, a long poll of 20 s, and encryption", () => {
    for (const queue of queues)
      expect(queue).toMatchObject({
        MaximumMessageSize: 1_048_576,
        ReceiveMessageWaitTimeSeconds: 20,
        SqsManagedSseEnabled: true,
      });
  });

  test("F11 hide a message for 6 × the timeout of the worker and allow 20 receives", () => {
    for (const queue of sources)
      expect(queue).toMatchObject({
        VisibilityTimeout: 360,
        MessageRetentionPeriod: 345_600,
        RedrivePolicy: { maxReceiveCount: 20 },
      });
  });

  test("keep dead letters for 14 days, and take them from their own source alone", () => {
    for (const queue of deadLetterQueues) expect(queue["MessageRetentionPeriod"]).toBe(1_209_600);
    for (const source of sources) {
      const { deadLetterTargetArn } = source["RedrivePolicy"] as { deadLetterTargetArn: { "Fn::GetAtt": [string] } };
      const deadLetters = resourcesOf(template, "AWS::SQS::Queue")[deadLetterTargetArn["Fn::GetAtt"][0]];
      const policy = deadLetters?.Properties?.["RedriveAllowPolicy"] as { sourceQueueArns: unknown[] };
      expect(policy).toMatchObject({ redrivePermission: "byQueue" });
      expect(policy.sourceQueueArns.map(readable)).toEqual([
        `arn:<AWS::Partition>:sqs:<AWS::Region>:<AWS::AccountId>:${source["QueueName"]}`,
      ]);
    }
  });

  test("refuse plain HTTP, each of them", () => {
    const denials = statementsOf(resourcesOf(template, "AWS::SQS::QueuePolicy")).filter(
      ({ effect, condition }) =>
        effect === "Deny" && JSON.stringify(condition) === '{"Bool":{"aws:SecureTransport":"false"}}',
    );
    expect(new Set(denials.flatMap(({ resources }) => resources)).size).toBe(8);
  });

  test("cover the longest of the workers and the batching window", () => {
    const slow = templateOf({ workerProps: { timeout: Duration.minutes(5), maxBatchingWindow: Duration.seconds(20) } });
    expect(() => {
      slow.resourcePropertiesCountIs("AWS::SQS::Queue", { VisibilityTimeout: 6 * 300 + 20 }, 4);
    }).not.toThrow();
  });

  test("are those of the lanes asked for", () => {
    const two = templateOf({ lanes: ["high", "normal"] });
    expect(() => {
      two.resourceCountIs("AWS::SQS::Queue", 4);
    }).not.toThrow();
    expect(() => {
      two.resourceCountIs("AWS::Lambda::EventSourceMapping", 2);
    }).not.toThrow();
  });
});

describe("the ledger", () => {
  test("is billed by use, has TTL, point-in-time recovery and three indexes, and outlives the stack", () => {
    expect(() => {
      template.hasResource("AWS::DynamoDB::Table", {
        DeletionPolicy: "Retain",
        UpdateReplacePolicy: "Retain",
        Properties: {
          BillingMode: "PAY_PER_REQUEST",
          TimeToLiveSpecification: { AttributeName: "x", Enabled: true },
          PointInTimeRecoverySpecification: { PointInTimeRecoveryEnabled: true },
          GlobalSecondaryIndexes: ["created", "owed", "dead"].map((IndexName) =>
            Match.objectLike({ IndexName, Projection: { ProjectionType: "KEYS_ONLY" } }),
          ),
          TableName: Match.absent(),
        },
      });
    }).not.toThrow();
  });

  test("is warmed with its indexes", () => {
    const warm = { readUnitsPerSecond: 15_000, writeUnitsPerSecond: 6_000 };
    const expected = { ReadUnitsPerSecond: 15_000, WriteUnitsPerSecond: 6_000 };
    expect(() => {
      templateOf({ warmThroughput: warm }).hasResourceProperties("AWS::DynamoDB::Table", {
        WarmThroughput: expected,
        GlobalSecondaryIndexes: [1, 2, 3].map(() => Match.objectLike({ WarmThroughput: expected })),
      });
    }).not.toThrow();
  });
});

describe("the payload bucket", () => {
  test("is closed, encrypted, unversioned, and has one rule for each life class", () => {
    expect(() => {
      template.hasResource("AWS::S3::Bucket", {
        DeletionPolicy: "Retain",
        Properties: {
          BucketName: Match.absent(),
          VersioningConfiguration: Match.absent(),
          PublicAccessBlockConfiguration: {
            BlockPublicAcls: true,
            BlockPublicPolicy: true,
            IgnorePublicAcls: true,
            RestrictPublicBuckets: true,
          },
          OwnershipControls: { Rules: [{ ObjectOwnership: "BucketOwnerEnforced" }] },
          BucketEncryption: {
            ServerSideEncryptionConfiguration: [{ ServerSideEncryptionByDefault: { SSEAlgorithm: "AES256" } }],
          },
          LifecycleConfiguration: {
            Rules: [30, 100, 400].map((days) => ({
              Id: `tasklane-d${days}`,
              Prefix: `d${days}/`,
              ExpirationInDays: days,
              Status: "Enabled",
            })),
          },
        },
      });
    }).not.toThrow();
    expect(() => {
      template.hasResourceProperties("AWS::S3::BucketPolicy", {
        PolicyDocument: {
          Statement: [Match.objectLike({ Effect: "Deny", Condition: { Bool: { "aws:SecureTransport": "false" } } })],
        },
      });
    }).not.toThrow();
  });

  test("is emptied and deleted with the stack only where that is asked for", () => {
    expect(() => {
      template.resourceCountIs("Custom::S3AutoDeleteObjects", 0);
    }).not.toThrow();
    const gone = templateOf({ removalPolicy: RemovalPolicy.DESTROY });
    expect(() => {
      gone.hasResource("AWS::S3::Bucket", { DeletionPolicy: "Delete" });
    }).not.toThrow();
    expect(() => {
      gone.hasResource("AWS::DynamoDB::Table", { DeletionPolicy: "Delete" });
    }).not.toThrow();
    expect(() => {
      gone.resourceCountIs("Custom::S3AutoDeleteObjects", 1);
    }).not.toThrow();
    expect(() => {
      templateOf({ removalPolicy: RemovalPolicy.DESTROY, without: ["autoDeleteObjects"] }).resourceCountIs(
        "Custom::S3AutoDeleteObjects",
        0,
      );
    }).not.toThrow();
  });
});

describe("the scheduler", () => {
  test("starts each minute, once, and what failed is not tried again", () => {
    expect(() => {
      template.hasResourceProperties("AWS::Events::Rule", {
        ScheduleExpression: "rate(1 minute)",
        State: "ENABLED",
        Targets: [Match.objectLike({ RetryPolicy: { MaximumEventAgeInSeconds: 60, MaximumRetryAttempts: 0 } })],
      });
    }).not.toThrow();
    expect(() => {
      template.hasResourceProperties("AWS::Lambda::EventInvokeConfig", { MaximumRetryAttempts: 0 });
    }).not.toThrow();
  });

  test("may be started by its own rule alone", () => {
    const permissions = Object.values(resourcesOf(template, "AWS::Lambda::Permission"));
    expect(permissions).toHaveLength(1);
    expect(permissions.map(({ Properties }) => readable(Properties?.["SourceArn"]))).toEqual(["<TasksEachMinute.Arn>"]);
  });
});

describe("a key of one's own", () => {
  const stack = makeStack();
  const encryptionKey = new Key(stack, "Key", { enableKeyRotation: true });
  new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, encryptionKey });
  const encrypted = Template.fromStack(stack);

  test("encrypts queues, table and bucket", () => {
    expect(() => {
      encrypted.resourcePropertiesCountIs("AWS::SQS::Queue", { KmsMasterKeyId: Match.anyValue() }, 8);
    }).not.toThrow();
    expect(() => {
      encrypted.hasResourceProperties("AWS::DynamoDB::Table", {
        SSESpecification: { SSEEnabled: true, SSEType: "KMS", KMSMasterKeyId: Match.anyValue() },
      });
    }).not.toThrow();
    expect(() => {
      encrypted.hasResourceProperties("AWS::S3::Bucket", {
        BucketEncryption: {
          ServerSideEncryptionConfiguration: [
            {
              BucketKeyEnabled: true,
              ServerSideEncryptionByDefault: { SSEAlgorithm: "aws:kms", KMSMasterKeyID: Match.anyValue() },
            },
          ],
        },
      });
    }).not.toThrow();
  });
});

test("every lane has its parts under its own name", () => {
  const ids = Object.keys(template.toJSON()["Resources"] as object).join(" ");
  for (const lane of LANES) expect(ids.toLowerCase()).toContain(`tasks${lane}worker`);
});
