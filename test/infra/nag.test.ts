import { App, NestedStack, RemovalPolicy, Stack, Validations } from "aws-cdk-lib";
import type { IPolicyValidationPlugin } from "aws-cdk-lib";
import { AccountRootPrincipal, PolicyStatement, Role } from "aws-cdk-lib/aws-iam";
import { Key } from "aws-cdk-lib/aws-kms";
import { Topic } from "aws-cdk-lib/aws-sns";
import { AwsSolutionsChecks } from "cdk-nag";
import { BUNDLING_STACKS } from "aws-cdk-lib/cx-api";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { TaskQueueProps } from "../../infra/index.ts";
import { networkOf, WORKER_ENTRY } from "./support/synth.ts";

/** An app under AWS's own rules: its synthesis fails where one is broken. */
function nagged(make: (stack: Stack) => void): { app: App; synth: () => unknown } {
  const app = new App({ context: { [BUNDLING_STACKS]: [] } });
  make(new Stack(app, "Shop"));
  const plugin: IPolicyValidationPlugin = new AwsSolutionsChecks(app);
  Validations.of(app).addPlugins(plugin);
  return { app, synth: () => app.synth() };
}

function makeWith(props: (stack: Stack) => TaskQueueProps): (stack: Stack) => void {
  return (stack) => {
    const queue = new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, ...props(stack) });
    grantAll(queue, stack);
  };
}

function grantAll(queue: TaskQueue, to: Stack): void {
  for (const name of ["enqueue", "consume", "read", "operate"] as const) queue.grants[name](makeRole(to, name));
}

function makeRole(stack: Stack, id: string): Role {
  return new Role(stack, id, { assumedBy: new AccountRootPrincipal() });
}

describe("AWS's rules for solutions", () => {
  test("find nothing in a queue with every grant", () => {
    expect(nagged(makeWith(() => ({}))).synth).not.toThrow();
  });

  test("find nothing in one with a key of its own that goes with its stack", () => {
    const { synth } = nagged(
      makeWith((stack) => ({
        encryptionKey: new Key(stack, "Key", { enableKeyRotation: true }),
        removalPolicy: RemovalPolicy.DESTROY,
      })),
    );
    expect(synth).not.toThrow();
  });

  test("find nothing in workers in a network", () => {
    const { synth } = nagged(makeWith((stack) => ({ workerProps: { vpc: networkOf(stack) } })));
    expect(synth).not.toThrow();
  });

  test.each([
    ["another stack", ({ node }: Stack) => new Stack(node.root, "Api")],
    ["a nested stack", (stack: Stack) => new NestedStack(stack, "Api")],
  ])("find nothing in a role of %s", (_, makeOther) => {
    const { synth } = nagged((stack) => {
      grantAll(new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY }), makeOther(stack));
    });
    expect(synth).not.toThrow();
  });

  test("find nothing in a role beside the nested stack of its queue", () => {
    const { synth } = nagged((stack) => {
      grantAll(new TaskQueue(new NestedStack(stack, "Queue"), "Tasks", { workerEntry: WORKER_ENTRY }), stack);
    });
    expect(synth).not.toThrow();
  });

  test.each([
    ["of a worker", ({ grantPrincipal }: TaskQueue) => grantPrincipal],
    ["of a producer", (queue: TaskQueue, role: Role) => (queue.grants.enqueue(role), role)],
  ])("still find a wildcard that an app adds to the role %s", (_, principalOf) => {
    const { synth } = nagged((stack) => {
      const workerProps = { vpc: networkOf(stack) };
      const queue = new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, workerProps });
      principalOf(queue, makeRole(stack, "Role")).addToPrincipalPolicy(
        new PolicyStatement({ actions: ["ses:SendEmail"], resources: ["*"] }),
      );
    });
    expect(synth).toThrow(/AwsSolutions-IAM5\[Resource::\*\]/);
  });

  test("are checked: they find a topic that takes plain HTTP", () => {
    const { synth } = nagged((stack) => {
      new TaskQueue(stack, "Tasks", { alarmTopic: new Topic(stack, "Topic") });
    });
    expect(synth).toThrow(/AwsSolutions-SNS3/);
  });

  test("are set aside for two reasons", () => {
    const { app, synth } = nagged(makeWith(() => ({})));
    synth();
    const acknowledged = app.node
      .findAll()
      .flatMap(({ node }) => node.metadata)
      .filter(({ type }) => type === Validations.ACKNOWLEDGED_RULES_METADATA_KEY)
      .map(({ data }) => data as Record<string, string>);
    const rules = new Map<string, Set<string>>();
    for (const data of acknowledged)
      for (const { id, reason } of ruleEntries(data)) {
        const rule = id.replace(/^.*(AwsSolutions-\w+).*$/, "$1");
        rules.set(rule, (rules.get(rule) ?? new Set()).add(reason));
      }
    expect([...rules.keys()].sort()).toEqual(["AwsSolutions-IAM5", "AwsSolutions-S1"]);
    for (const reasons of rules.values()) {
      expect(reasons.size).toBe(1);
      for (const reason of reasons) expect(reason.length).toBeGreaterThan(40);
    }
  });
});

function ruleEntries(data: unknown): { id: string; reason: string }[] {
  const list = Array.isArray(data) ? (data as unknown[]) : [data];
  return list.flatMap((entry) => {
    if (typeof entry !== "object" || entry === null) return [];
    const { id, reason } = entry as { id?: unknown; reason?: unknown };
    if (typeof id === "string") return [{ id, reason: String(reason) }];
    return Object.entries(entry).map(([key, value]) => ({ id: key, reason: String(value) }));
  });
}
