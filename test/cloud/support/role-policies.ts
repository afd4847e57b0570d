import type { Permission } from "./recorded-permissions.ts";

/** A resource of a synthesised template. */
export interface TemplateResource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
}

/** A statement that allows something, with the resources as they are once deployed. */
export interface Allowance {
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  /** Patterns of partition keys, where the statement asks for them. */
  readonly leadingKeys: readonly string[] | undefined;
}

/** What each role of a template may do, by its logical id. */
export type RolePolicies = Readonly<Record<string, readonly Allowance[]>>;

const ACCOUNT = "us-east-1:000000000000";
const LEADING_KEYS = "dynamodb:LeadingKeys";

/**
 * Reads the policies of a template's roles, with each resource named as the deploy named it.
 *
 * @throws Error for what this cannot judge, such as another condition
 */
export function rolePoliciesOf(
  resources: Readonly<Record<string, TemplateResource>>,
  physicalIds: Readonly<Record<string, string>>,
): RolePolicies {
  const policies: Record<string, Allowance[]> = {};
  for (const [id, { Type, Properties = {} }] of Object.entries(resources)) {
    if (Type === "AWS::IAM::Role") {
      policies[id] ??= [];
      if (Properties["Policies"] !== undefined) throw new Error(`${id} has policies of its own: read them here too`);
    }
    if (Type !== "AWS::IAM::Policy") continue;
    const { Statement } = Properties["PolicyDocument"] as { Statement: Record<string, unknown>[] };
    const allowances = Statement.map((statement) => readStatement(statement, resources, physicalIds));
    for (const { Ref } of Properties["Roles"] as { Ref: string }[]) (policies[Ref] ??= []).push(...allowances);
  }
  return policies;
}

/** Whether a role may do what it did. */
export function isAllowed(allowances: readonly Allowance[], need: Permission): boolean {
  return allowances.some(
    ({ actions, resources, leadingKeys }) =>
      actions.some((pattern) => matches(pattern, need.action)) &&
      resources.some((pattern) => matches(pattern, need.resource)) &&
      (leadingKeys === undefined ||
        need.leadingKeys.every((key) => leadingKeys.some((pattern) => matches(pattern, key)))),
  );
}

/** The same policy as if it had never allowed an action, neither by name nor by a pattern. */
export function withoutAction(allowances: readonly Allowance[], action: string): Allowance[] {
  return allowances.map((each) => ({ ...each, actions: each.actions.filter((pattern) => !matches(pattern, action)) }));
}

function readStatement(
  statement: Record<string, unknown>,
  resources: Readonly<Record<string, TemplateResource>>,
  physicalIds: Readonly<Record<string, string>>,
): Allowance {
  if (statement["Effect"] !== "Allow") throw new Error(`Not judged here: ${JSON.stringify(statement)}`);
  return {
    actions: listOf(statement["Action"]).map(String),
    resources: listOf(statement["Resource"]).map((value) => resolve(value, resources, physicalIds)),
    leadingKeys: leadingKeysOf(statement["Condition"]),
  };
}

function leadingKeysOf(condition: unknown): readonly string[] | undefined {
  if (condition === undefined) return undefined;
  const [[operator, test] = ["", {}], ...others] = Object.entries(condition as Record<string, Record<string, unknown>>);
  const [[key, patterns] = ["", []], ...more] = Object.entries(test);
  if (operator !== "ForAllValues:StringLike" || key !== LEADING_KEYS || others.length > 0 || more.length > 0)
    throw new Error(`Not judged here: ${JSON.stringify(condition)}`);
  return listOf(patterns).map(String);
}

function resolve(
  value: unknown,
  resources: Readonly<Record<string, TemplateResource>>,
  physicalIds: Readonly<Record<string, string>>,
): string {
  if (typeof value === "string") return value;
  const [call, operand] = Object.entries(value as Record<string, unknown>)[0] ?? ["", undefined];
  if (call === "Fn::Join") {
    const [separator, parts] = operand as [string, unknown[]];
    return parts.map((part) => resolve(part, resources, physicalIds)).join(separator);
  }
  if (call === "Fn::GetAtt") {
    const [id = "", attribute] = operand as string[];
    if (attribute === "Arn") return arnOf(id, resources[id]?.Type ?? "", physicalIds[id] ?? "");
  }
  if (call === "Ref" && operand === "AWS::Partition") return "aws";
  throw new Error(`Not resolved here: ${JSON.stringify(value)}`);
}

function arnOf(id: string, type: string, physicalId: string): string {
  const name = physicalId.slice(physicalId.lastIndexOf("/") + 1);
  if (name === "") throw new Error(`${id} was not deployed`);
  if (type === "AWS::SQS::Queue") return `arn:aws:sqs:${ACCOUNT}:${name}`;
  if (type === "AWS::DynamoDB::Table") return `arn:aws:dynamodb:${ACCOUNT}:table/${name}`;
  if (type === "AWS::S3::Bucket") return `arn:aws:s3:::${name}`;
  return `arn of ${id}`;
}

/** `*` and `?` as IAM reads them. */
function matches(pattern: string, value: string): boolean {
  const source = pattern
    .replace(/[.+^${}()|[\]\\]/g, "\\$&")
    .replaceAll("*", ".*")
    .replaceAll("?", ".");
  return new RegExp(`^${source}$`, "s").test(value);
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [value];
}
