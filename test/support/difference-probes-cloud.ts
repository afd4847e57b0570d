import type { CloudFormationClient } from "@aws-sdk/client-cloudformation";
import {
  CreateStackCommand,
  DeleteStackCommand,
  DescribeStacksCommand,
  UpdateStackCommand,
} from "@aws-sdk/client-cloudformation";
import {
  DescribeContinuousBackupsCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
} from "@aws-sdk/client-dynamodb";
import { GetBucketLifecycleConfigurationCommand, GetBucketTaggingCommand } from "@aws-sdk/client-s3";
import { CreateQueueCommand, GetQueueAttributesCommand, SendMessageCommand } from "@aws-sdk/client-sqs";
import type { DifferenceId } from "./backend-differences.ts";
import type { DifferenceProbe, DifferenceSite } from "./difference-site.ts";
import { probeName, within } from "./difference-site.ts";

const STACK_MAX_MS = 60_000;
/** A function has started within this. */
const HANDLED_MAX_MS = 30_000;
/** A message that is not retried is gone within this. */
const GONE_MAX_MS = 6_000;
const VISIBILITY_S = 2;

type Resources = Readonly<Record<string, object>>;

/** Each resolves true if a deployed template is here as it is at AWS. */
export const CLOUDFORMATION_PROBES: Readonly<Record<DifferenceId<"CloudFormation">, DifferenceProbe>> = {
  "template-ttl": async ({ cloudformation, dynamodb }) => {
    const TableName = probeName();
    const TimeToLiveSpecification = { AttributeName: "expiresAt", Enabled: true };
    await mustCreate(cloudformation, { Table: table(TableName, { TimeToLiveSpecification }) });
    const found = await dynamodb.send(new DescribeTimeToLiveCommand({ TableName }));
    return found.TimeToLiveDescription?.TimeToLiveStatus === "ENABLED";
  },
  "template-recovery": async ({ cloudformation, dynamodb }) => {
    const TableName = probeName();
    const PointInTimeRecoverySpecification = { PointInTimeRecoveryEnabled: true };
    await mustCreate(cloudformation, { Table: table(TableName, { PointInTimeRecoverySpecification }) });
    const { ContinuousBackupsDescription: found } = await dynamodb.send(
      new DescribeContinuousBackupsCommand({ TableName }),
    );
    return found?.PointInTimeRecoveryDescription?.PointInTimeRecoveryStatus === "ENABLED";
  },
  "template-new-index": async ({ cloudformation, dynamodb }) => {
    const TableName = probeName();
    const name = await mustCreate(cloudformation, { Table: table(TableName, {}) });
    const index = {
      IndexName: "later",
      KeySchema: [{ AttributeName: "ik", KeyType: "HASH" }],
      Projection: { ProjectionType: "KEYS_ONLY" },
    };
    const changed = table(TableName, {
      AttributeDefinitions: ["pk", "ik"].map((AttributeName) => ({ AttributeName, AttributeType: "S" })),
      GlobalSecondaryIndexes: [index],
    });
    await cloudformation.send(
      new UpdateStackCommand({ StackName: name, TemplateBody: JSON.stringify({ Resources: { Table: changed } }) }),
    );
    await finished(cloudformation, name);
    const { Table } = await dynamodb.send(new DescribeTableCommand({ TableName }));
    return Table?.GlobalSecondaryIndexes?.[0]?.IndexName === "later";
  },
  "template-lifecycle": async ({ cloudformation, s3 }) => {
    const Bucket = probeName();
    const LifecycleConfiguration = { Rules: [{ Id: "probe", Status: "Enabled", ExpirationInDays: 30 }] };
    await mustCreate(cloudformation, { Bucket: bucket(Bucket, { LifecycleConfiguration }) });
    return isSet(s3.send(new GetBucketLifecycleConfigurationCommand({ Bucket })));
  },
  "template-bucket-tags": async ({ cloudformation, s3 }) => {
    const Bucket = probeName();
    await mustCreate(cloudformation, { Bucket: bucket(Bucket, { Tags: [{ Key: "a", Value: "b" }] }) });
    return isSet(s3.send(new GetBucketTaggingCommand({ Bucket })));
  },
  "metric-math": async ({ cloudformation }) => {
    const stat = { Metric: { Namespace: "Probe", MetricName: "m" }, Period: 60, Stat: "Sum" };
    const alarm = {
      Type: "AWS::CloudWatch::Alarm",
      Properties: {
        ComparisonOperator: "GreaterThanThreshold",
        EvaluationPeriods: 1,
        Threshold: 1,
        Metrics: [
          { Id: "sum", Expression: "a + a", ReturnData: true },
          { Id: "a", MetricStat: stat, ReturnData: false },
        ],
      },
    };
    return (await create(cloudformation, { Alarm: alarm })).status === "CREATE_COMPLETE";
  },
};

/** Each resolves true if a function behind an event source is here as it is at AWS. */
export const LAMBDA_PROBES: Readonly<Record<DifferenceId<"Lambda">, DifferenceProbe>> = {
  "unknown-id-reported": (site) => isRetried(site, "{ batchItemFailures: [{ itemIdentifier: 'nobody' }] }"),
  "empty-id-reported": (site) => isRetried(site, "{ batchItemFailures: [{ itemIdentifier: '' }] }"),
};

/** Tells whether a message comes again, as AWS has it for a report that names none of the batch. */
async function isRetried({ cloudformation, sqs }: DifferenceSite, report: string): Promise<boolean> {
  const { QueueUrl } = await sqs.send(
    new CreateQueueCommand({ QueueName: probeName(), Attributes: { VisibilityTimeout: String(VISIBILITY_S) } }),
  );
  const countsOf = async (): Promise<Partial<Record<string, string>>> =>
    (await sqs.send(new GetQueueAttributesCommand({ QueueUrl, AttributeNames: ["All"] }))).Attributes ?? {};
  const { QueueArn } = await countsOf();
  const StackName = await mustCreate(cloudformation, {
    Role: {
      Type: "AWS::IAM::Role",
      Properties: {
        AssumeRolePolicyDocument: {
          Version: "2012-10-17",
          Statement: [{ Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" }, Action: "sts:AssumeRole" }],
        },
      },
    },
    Function: {
      Type: "AWS::Lambda::Function",
      Properties: {
        Runtime: "nodejs24.x",
        Handler: "index.handler",
        Timeout: VISIBILITY_S,
        Role: { "Fn::GetAtt": ["Role", "Arn"] },
        Code: {
          ZipFile: `exports.handler = async ({ Records: [{ body }] }) =>
            body === "control" ? { batchItemFailures: [] } : ${report};`,
        },
      },
    },
    Source: {
      Type: "AWS::Lambda::EventSourceMapping",
      Properties: {
        EventSourceArn: QueueArn,
        FunctionName: { Ref: "Function" },
        BatchSize: 1,
        FunctionResponseTypes: ["ReportBatchItemFailures"],
      },
    },
  });
  const isHandled = async (MessageBody: string, withinMs: number): Promise<boolean> => {
    await sqs.send(new SendMessageCommand({ QueueUrl, MessageBody }));
    return within(withinMs, async () => {
      const { ApproximateNumberOfMessages, ApproximateNumberOfMessagesNotVisible } = await countsOf();
      return ApproximateNumberOfMessages === "0" && ApproximateNumberOfMessagesNotVisible === "0";
    });
  };
  try {
    // Without it, a function that never runs would look like one whose batch fails.
    if (!(await isHandled("control", HANDLED_MAX_MS))) throw new Error("the function does not run");
    return !(await isHandled("x", GONE_MAX_MS));
  } finally {
    await cloudformation.send(new DeleteStackCommand({ StackName }));
  }
}

function table(TableName: string, properties: object): object {
  return {
    Type: "AWS::DynamoDB::Table",
    Properties: {
      TableName,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: [{ AttributeName: "pk", AttributeType: "S" }],
      KeySchema: [{ AttributeName: "pk", KeyType: "HASH" }],
      ...properties,
    },
  };
}

function bucket(BucketName: string, properties: object): object {
  return { Type: "AWS::S3::Bucket", Properties: { BucketName, ...properties } };
}

async function mustCreate(cloudformation: CloudFormationClient, resources: Resources): Promise<string> {
  const { name, status } = await create(cloudformation, resources);
  if (status !== "CREATE_COMPLETE") throw new Error(`stack ${name} is ${status}`);
  return name;
}

async function create(
  cloudformation: CloudFormationClient,
  Resources: Resources,
): Promise<{ name: string; status: string | undefined }> {
  const name = probeName();
  const TemplateBody = JSON.stringify({ Resources });
  await cloudformation.send(
    new CreateStackCommand({ StackName: name, TemplateBody, Capabilities: ["CAPABILITY_IAM"] }),
  );
  return { name, status: await finished(cloudformation, name) };
}

async function finished(cloudformation: CloudFormationClient, StackName: string): Promise<string | undefined> {
  let status: string | undefined;
  await within(STACK_MAX_MS, async () => {
    const { Stacks = [] } = await cloudformation.send(new DescribeStacksCommand({ StackName }));
    status = Stacks[0]?.StackStatus;
    return status?.endsWith("_IN_PROGRESS") === false;
  });
  return status;
}

/** Asking for a setting that is not there is an error. */
async function isSet(question: Promise<unknown>): Promise<boolean> {
  return question.then(
    () => true,
    () => false,
  );
}
