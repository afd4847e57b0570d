import { App, Stack } from "aws-cdk-lib";
import type { StackProps } from "aws-cdk-lib";
import { Template } from "aws-cdk-lib/assertions";
import type { IVpc } from "aws-cdk-lib/aws-ec2";
import { Vpc } from "aws-cdk-lib/aws-ec2";
import type { FunctionProps } from "aws-cdk-lib/aws-lambda";
import { Code, Function as LambdaFunction, Runtime } from "aws-cdk-lib/aws-lambda";
import { BUNDLING_STACKS } from "aws-cdk-lib/cx-api";
import type { Construct } from "constructs";
import { TasklaneError } from "../../../lib/task/errors.ts";
import { TaskQueue } from "../../../infra/index.ts";
import type { TaskQueueProps } from "../../../infra/index.ts";

/** A worker entry that exists; what it holds matters only where it is bundled. */
export const WORKER_ENTRY: URL = new URL("./worker-entry.ts", import.meta.url);

/** An app that bundles nothing, so that a test takes milliseconds. */
export function makeApp(): App {
  return new App({ context: { [BUNDLING_STACKS]: [] } });
}

/** A stack of an app of its own. */
export function makeStack(props: StackProps = {}): Stack {
  return new Stack(makeApp(), "Shop", props);
}

/** A queue with workers in a stack of its own. */
export function makeQueue(props: TaskQueueProps = {}): { stack: Stack; queue: TaskQueue } {
  const stack = makeStack();
  return { stack, queue: new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, ...props }) };
}

/** A function that an app made by itself. */
export function makeFunction(scope: Construct, id: string, props: Partial<FunctionProps> = {}): LambdaFunction {
  return new LambdaFunction(scope, id, {
    runtime: Runtime.NODEJS_24_X,
    handler: "index.handler",
    code: Code.fromInline("exports.handler = null"),
    ...props,
  });
}

/** A network that is there already. */
export function networkOf(stack: Stack): IVpc {
  return Vpc.fromVpcAttributes(stack, "Network", {
    vpcId: "vpc-0123456789abcdef0",
    availabilityZones: ["eu-central-1a"],
    privateSubnetIds: ["subnet-0123456789abcdef0"],
    privateSubnetRouteTableIds: ["rtb-0123456789abcdef0"],
  });
}

/** The variables of a function, read as the deploy would leave them. */
export function variablesOf(stack: Stack, id: string): Record<string, string> {
  const functions = Object.entries(resourcesOf(Template.fromStack(stack), "AWS::Lambda::Function"));
  const [, found] = functions.find(([name]) => name.startsWith(id)) ?? [];
  const environment = (found?.Properties?.["Environment"] ?? { Variables: {} }) as {
    Variables: Record<string, unknown>;
  };
  return Object.fromEntries(Object.entries(environment.Variables).map(([name, value]) => [name, deployed(value)]));
}

/** What CloudFormation makes of a value: queues answer their URLs, other references a name of the usual length. */
export function deployed(value: unknown): string {
  return readable(value)
    .replace("<AWS::Region>", "ap-southeast-1")
    .replace(/<([^>]+)>/g, (_, id: string) =>
      /Critical|High|Normal|Low/.test(id)
        ? `https://sqs.ap-southeast-1.amazonaws.com/123456789012/Shop-${id}-105A5640`
        : `shop-${id}-abcdefghijkl`.slice(0, 63),
    );
}

/** The template of a queue with workers. */
export function templateOf(props: TaskQueueProps = {}): Template {
  return Template.fromStack(makeQueue(props).stack);
}

/** The code and text of what a synthesis throws. */
export function refusalOf(make: () => unknown): TasklaneError {
  try {
    make();
  } catch (error) {
    if (TasklaneError.is(error)) return error;
    throw error;
  }
  throw new Error("It was synthesised.");
}

/** A resource of a template. */
export interface Resource {
  readonly Type: string;
  readonly Properties?: Readonly<Record<string, unknown>>;
  readonly DeletionPolicy?: string;
  readonly UpdateReplacePolicy?: string;
  readonly DependsOn?: string | readonly string[];
}

/** The resources of a type, by logical id. */
export function resourcesOf(template: Template, type: string): Record<string, Resource> {
  return template.findResources(type) as Record<string, Resource>;
}

/** A statement of a policy, with lists where a template may have single values. */
export interface Statement {
  readonly effect: string;
  readonly actions: readonly string[];
  readonly resources: readonly string[];
  readonly condition: unknown;
  readonly principal: unknown;
}

/** The statements of policies, their resources written as in `<TasksLedger.Arn>/index/created`. */
export function statementsOf(policies: Readonly<Record<string, Resource>>): Statement[] {
  return Object.values(policies).flatMap(({ Properties }) => {
    const { PolicyDocument: document } = Properties as {
      PolicyDocument: { Statement: Record<string, unknown>[] };
    };
    return document.Statement.map((statement) => ({
      effect: String(statement["Effect"]),
      actions: list(statement["Action"]).map(String),
      resources: list(statement["Resource"]).map(readable),
      condition: statement["Condition"],
      principal: statement["Principal"],
    }));
  });
}

/** Writes a value of a template as text: references by name, without the hash of a logical id. */
export function readable(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const [call, operand] = Object.entries(value)[0] ?? ["", undefined];
  if (call === "Ref") return `<${bare(operand)}>`;
  if (call === "Fn::GetAtt") return `<${(operand as string[]).map(bare).join(".")}>`;
  if (call === "Fn::Join") return (operand as [string, unknown[]])[1].map(readable).join((operand as [string])[0]);
  return JSON.stringify(value);
}

function bare(id: unknown): string {
  return String(id).replace(/[0-9A-F]{8}$/, "");
}

function list(value: unknown): unknown[] {
  return Array.isArray(value) ? value : [value];
}
