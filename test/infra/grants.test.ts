import { App, Stack } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import { Alias, Key } from "aws-cdk-lib/aws-kms";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { TaskQueueGrants } from "../../infra/index.ts";
import { toTasklaneError } from "../../lib/aws/aws-errors.ts";
import { makeStack, readable, refusalOf, resourcesOf, statementsOf, WORKER_ENTRY } from "./support/synth.ts";

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

  test("no resource's policy lets anybody in, so that there is no service to confuse", () => {
    const statements = ["AWS::SQS::QueuePolicy", "AWS::S3::BucketPolicy", "AWS::SNS::TopicPolicy"].flatMap((type) =>
      statementsOf(resourcesOf(template, type)),
    );
    expect(statements.length).toBeGreaterThan(8);
    expect(new Set(statements.map(({ effect }) => effect))).toEqual(new Set(["Deny"]));
  });

  test("Lambda and nobody else may take the roles", () => {
    const roles = Object.values(resourcesOf(template, "AWS::IAM::Role"));
    expect(roles).toHaveLength(2);
    for (const { Properties } of roles)
      expect(Properties?.["AssumeRolePolicyDocument"]).toEqual({
        Statement: [{ Action: "sts:AssumeRole", Effect: "Allow", Principal: { Service: "lambda.amazonaws.com" } }],
        Version: "2012-10-17",
      });
  });
});

test("a role that cannot be changed is let in by the key's own policy", () => {
  const stack = makeStack();
  const encryptionKey = new Key(stack, "Key");
  const role = Role.fromRoleArn(stack, "Role", "arn:aws:iam::123456789012:role/theirs", { mutable: false });
  new TaskQueue(stack, "Tasks", { encryptionKey, workerEntry: WORKER_ENTRY, workerProps: { role } });
  const [key] = Object.values(resourcesOf(Template.fromStack(stack), "AWS::KMS::Key"));
  expect(JSON.stringify(key?.Properties?.["KeyPolicy"])).toContain("role/theirs");
});

describe("a key that no grant reaches", () => {
  test("is refused: roles could not use what it encrypts", () => {
    const stack = makeStack();
    const encryptionKey = Alias.fromAliasName(stack, "Key", "alias/shop");
    const error = refusalOf(() => new TaskQueue(stack, "Tasks", { encryptionKey }));
    expect(error.code).toBe("OPTION_INVALID");
    expect(error.message).toMatch(/Shop\/Key gives no permission/);
    expect(error.fix).toMatch(/Key.fromKeyArn/);
  });

  test("is none that is known by its ARN, nor the alias of one", () => {
    const stack = makeStack();
    const arn = "arn:aws:kms:eu-west-1:123456789012:key/11112222-3333-4444-5555-666677778888";
    const imported = Key.fromKeyArn(stack, "Imported", arn);
    const own = new Key(stack, "Key").addAlias("alias/shop");
    const roles = [imported, own].map((encryptionKey, at) => {
      const queue = new TaskQueue(stack, `Tasks${at}`, { queueName: `q${at}`, encryptionKey });
      const role = new Role(stack, `Role${at}`, { assumedBy: new AccountRootPrincipal() });
      queue.grants.enqueue(role);
      return `Role${at}DefaultPolicy`;
    });
    const policies = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::IAM::Policy"));
    const keys = roles.map((id) =>
      statementsOf(Object.fromEntries(policies.filter(([name]) => name.startsWith(id))))
        .filter(({ actions }) => actions.includes("kms:GenerateDataKey"))
        .flatMap(({ resources }) => resources),
    );
    expect(keys).toEqual([[arn], KEY]);
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
