import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { TaskQueueGrants } from "../../infra/index.ts";
import { toTasklaneError } from "../../lib/aws/aws-errors.ts";
import { makeStack, readable, resourcesOf, statementsOf, WORKER_ENTRY } from "./support/synth.ts";

type GrantName = keyof TaskQueueGrants & ("enqueue" | "consume" | "read" | "operate");

const QUEUES = ["Critical", "High", "Normal", "Low"].map((lane) => `<Tasks${lane}.Arn>`);
const DEAD_LETTERS = ["Critical", "High", "Normal", "Low"].map((lane) => `<Tasks${lane}DeadLetters.Arn>`);
const TABLE = ["<TasksLedger.Arn>"];
const indexes = (...names: string[]): string[] => names.map((index) => `<TasksLedger.Arn>/index/${index}`);
/** What lists are made of. What is owed is the scheduler's affair. */
const LISTS = indexes("created", "dead");
const OBJECTS = ["d30", "d100", "d400"].map((prefix) => `<TasksPayloads.Arn>/${prefix}/*`);
const KEY = ["<Key.Arn>"];

/** The policy of a role that has one grant, as actions by resource. */
function granted(grant: (queue: TaskQueue, role: IGrantable) => unknown): { actions: string[]; resources: string[] }[] {
  const stack = makeStack();
  const queue = new TaskQueue(stack, "Tasks", { encryptionKey: new Key(stack, "Key") });
  const role = new Role(stack, "Role", { assumedBy: new AccountRootPrincipal() });
  grant(queue, role);
  const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
  return statementsOf(Object.fromEntries(policies.filter(([id]) => id.startsWith("RoleDefaultPolicy")))).map(
    ({ actions, resources }) => ({ actions: [...actions].sort(), resources: [...resources] }),
  );
}

const EXPECTED: Record<GrantName, { actions: string[]; resources: string[] }[]> = {
  enqueue: [
    { actions: ["sqs:GetQueueAttributes", "sqs:SendMessage"], resources: QUEUES },
    { actions: ["dynamodb:PutItem", "dynamodb:UpdateItem"], resources: TABLE },
    { actions: ["s3:PutObject"], resources: OBJECTS },
    { actions: ["kms:Decrypt", "kms:GenerateDataKey"], resources: KEY },
  ],
  consume: [
    {
      actions: [
        "sqs:ChangeMessageVisibility",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ReceiveMessage",
        "sqs:SendMessage",
      ],
      resources: QUEUES,
    },
    { actions: ["sqs:SendMessage"], resources: DEAD_LETTERS },
    {
      actions: [
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
      ],
      resources: TABLE,
    },
    { actions: ["s3:GetObject", "s3:PutObject"], resources: OBJECTS },
    { actions: ["kms:Decrypt", "kms:GenerateDataKey"], resources: KEY },
  ],
  read: [
    { actions: ["sqs:GetQueueAttributes"], resources: QUEUES },
    { actions: ["sqs:GetQueueAttributes"], resources: DEAD_LETTERS },
    { actions: ["dynamodb:BatchGetItem", "dynamodb:GetItem", "dynamodb:Query"], resources: TABLE },
    { actions: ["dynamodb:Query"], resources: LISTS },
    { actions: ["s3:GetObject"], resources: OBJECTS },
    { actions: ["kms:Decrypt"], resources: KEY },
  ],
  operate: [
    { actions: ["sqs:GetQueueAttributes", "sqs:SendMessage"], resources: QUEUES },
    {
      actions: [
        "sqs:CancelMessageMoveTask",
        "sqs:DeleteMessage",
        "sqs:GetQueueAttributes",
        "sqs:ListMessageMoveTasks",
        "sqs:ReceiveMessage",
        "sqs:StartMessageMoveTask",
      ],
      resources: DEAD_LETTERS,
    },
    {
      actions: [
        "dynamodb:BatchGetItem",
        "dynamodb:GetItem",
        "dynamodb:PutItem",
        "dynamodb:Query",
        "dynamodb:UpdateItem",
      ],
      resources: TABLE,
    },
    { actions: ["dynamodb:Query"], resources: LISTS },
    { actions: ["s3:GetObject", "s3:PutObject"], resources: OBJECTS },
    { actions: ["kms:Decrypt", "kms:GenerateDataKey"], resources: KEY },
  ],
};

describe("a grant allows these actions and no others", () => {
  test.each(Object.entries(EXPECTED))("%s", (name, expected) => {
    expect(granted((queue, role) => queue.grants[name as GrantName](role))).toEqual(expected);
  });
});

describe("the policies of a whole queue", () => {
  const stack = makeStack();
  const queue = new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY });
  const template = Template.fromStack(stack);
  const statements = statementsOf(resourcesOf(template, "AWS::IAM::Policy"));

  test("are two: the workers' and the scheduler's", () => {
    expect(Object.keys(queue.workers)).toHaveLength(4);
    expect(
      Object.keys(resourcesOf(template, "AWS::IAM::Policy")).map((id) => id.replace(/DefaultPolicy.*/, "")),
    ).toEqual(["TasksSchedulerRole", "TasksWorkerRole"]);
    for (const { Properties } of Object.values(resourcesOf(template, "AWS::IAM::Role")))
      expect(Properties).not.toHaveProperty("ManagedPolicyArns");
  });

  test("the scheduler's allows these actions and no others", () => {
    const policies = Object.entries(resourcesOf(template, "AWS::IAM::Policy"));
    const scheduler = statementsOf(Object.fromEntries(policies.filter(([id]) => id.includes("Scheduler"))));
    expect(scheduler.map(({ actions, resources }) => ({ actions: [...actions].sort(), resources }))).toEqual([
      { actions: ["logs:CreateLogStream", "logs:PutLogEvents"], resources: ["<TasksSchedulerLogs.Arn>"] },
      { actions: ["sqs:GetQueueAttributes", "sqs:SendMessage"], resources: QUEUES },
      {
        actions: ["sqs:DeleteMessage", "sqs:ReceiveMessage", "sqs:SendMessage"],
        resources: DEAD_LETTERS,
      },
      {
        actions: [
          "dynamodb:BatchGetItem",
          "dynamodb:GetItem",
          "dynamodb:PutItem",
          "dynamodb:Query",
          "dynamodb:UpdateItem",
        ],
        resources: TABLE,
      },
      { actions: ["dynamodb:Query"], resources: indexes("created", "owed", "dead") },
      { actions: ["s3:GetObject", "s3:PutObject"], resources: OBJECTS },
    ]);
  });

  test("have no wildcard but the keys under a life class's prefix", () => {
    expect(statements.flatMap(({ actions }) => actions).filter((action) => action.includes("*"))).toEqual([]);
    const wild = statements.flatMap(({ resources }) => resources).filter((resource) => resource.includes("*"));
    expect(new Set(wild)).toEqual(new Set(OBJECTS));
  });

  test("scan, list, purge and delete no table, bucket or queue", () => {
    const actions = statements.flatMap((statement) => statement.actions).join(" ");
    expect(actions).not.toMatch(/Scan|s3:List|Purge|DeleteQueue|DeleteTable|DeleteItem|DeleteObject/);
  });
});

test("a producer's writes to the ledger reach items of tasks alone", () => {
  const stack = makeStack();
  const queue = new TaskQueue(stack, "Tasks");
  queue.grants.enqueue(new Role(stack, "Role", { assumedBy: new AccountRootPrincipal() }));
  const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
  const conditions = statementsOf(Object.fromEntries(policies.filter(([id]) => id.startsWith("RoleDefaultPolicy"))))
    .filter(({ actions }) => actions.includes("dynamodb:PutItem"))
    .map(({ condition }) => condition);
  expect(conditions).toEqual([{ "ForAllValues:StringLike": { "dynamodb:LeadingKeys": ["t#*"] } }]);
});

describe("who may act through a service", () => {
  // A service that acts for anybody who asks is the confused deputy; a source pins it down to this stack's own resource.
  const stack = makeStack();
  new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY });
  const template = Template.fromStack(stack);

  test("each permission of a service on a function names its source", () => {
    const permissions = Object.values(resourcesOf(template, "AWS::Lambda::Permission"));
    expect(permissions.length).toBeGreaterThan(0);
    // The ARN of a rule holds the account, so that no other one's rule fits.
    expect(permissions.map(({ Properties }) => readable(Properties?.["SourceArn"]))).toEqual(["<TasksEachMinute.Arn>"]);
  });

  test("each statement of a resource's policy that lets a service in names its source", () => {
    const policies = ["AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy", "AWS::KMS::Key"];
    const allowed = policies
      .flatMap((type) => statementsOf(resourcesOf(template, type)))
      .filter(({ effect }) => effect === "Allow");
    for (const { condition } of allowed) expect(JSON.stringify(condition)).toMatch(/aws:Source(Arn|Account)/);
    // As long as there is none, there is nobody to confuse.
    expect(allowed).toEqual([]);
  });

  test("Lambda alone may take the roles, for functions of this account", () => {
    for (const { Properties } of Object.values(resourcesOf(template, "AWS::IAM::Role")))
      expect(Properties).toMatchObject({
        AssumeRolePolicyDocument: {
          Statement: [{ Action: "sts:AssumeRole", Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" } }],
        },
      });
  });
});

describe("the grant that PERMISSION_DENIED names", () => {
  const actions = [
    "sqs:SendMessage",
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "dynamodb:PutItem",
    "dynamodb:UpdateItem",
    "dynamodb:GetItem",
    "dynamodb:BatchGetItem",
    "dynamodb:Query",
    "s3:PutObject",
    "s3:GetObject",
  ];

  test.each(actions)("for %s allows it", (action) => {
    const { fix = "" } = toTasklaneError({ name: "AccessDenied" }, { action, resource: "it" });
    const [, name = ""] = /queue\.grants\.(\w+)/.exec(fix) ?? [];
    expect(EXPECTED[name as GrantName].flatMap((statement) => statement.actions)).toContain(action);
  });
});

test("a grant works across stacks", () => {
  const app = new App({ context: { "aws:cdk:bundling-stacks": [] } });
  const queue = new TaskQueue(new Stack(app, "Queues"), "Tasks");
  const other = new Stack(app, "Api");
  queue.grants.enqueue(new Role(other, "Role", { assumedBy: new AccountRootPrincipal() }));
  const statements = statementsOf(resourcesOf(Template.fromStack(other), "AWS::IAM::Policy"));
  expect(statements.flatMap(({ actions }) => actions)).toContain("sqs:SendMessage");
});
