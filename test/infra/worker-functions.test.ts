import { Match, Template } from "aws-cdk-lib/assertions";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import { describe, expect, test } from "vitest";
import { TaskQueue } from "../../infra/index.ts";
import type { WorkerProps } from "../../infra/index.ts";
import {
  makeStack,
  networkOf,
  readable,
  resourcesOf,
  statementsOf,
  templateOf,
  WORKER_ENTRY,
} from "./support/synth.ts";

const template = templateOf();

describe("the worker functions", () => {
  test("F17 run on Node 24 and ARM64, one for each lane, and may set off one another", () => {
    expect(() => {
      template.resourcePropertiesCountIs(
        "AWS::Lambda::Function",
        {
          Runtime: "nodejs24.x",
          Architectures: ["arm64"],
          Handler: "index.handler",
          Timeout: 60,
          MemorySize: 512,
          RecursiveLoop: "Allow",
          ReservedConcurrentExecutions: Match.absent(),
        },
        4,
      );
    }).not.toThrow();
  });

  test("report failures one by one, and have a maximum concurrency for each lane", () => {
    const sources = Object.values(resourcesOf(template, "AWS::Lambda::EventSourceMapping"));
    for (const { Properties } of sources)
      expect(Properties).toMatchObject({ BatchSize: 10, FunctionResponseTypes: ["ReportBatchItemFailures"] });
    const concurrency = Object.fromEntries(
      sources.map(({ Properties = {} }) => [
        readable(Properties["EventSourceArn"]),
        Properties["ScalingConfig"] as unknown,
      ]),
    );
    expect(concurrency).toEqual({
      "<TasksCritical.Arn>": { MaximumConcurrency: 16 },
      "<TasksHigh.Arn>": { MaximumConcurrency: 8 },
      "<TasksNormal.Arn>": { MaximumConcurrency: 4 },
      "<TasksLow.Arn>": { MaximumConcurrency: 2 },
    });
    expect(() => {
      templateOf({ maxConcurrency: 5 }).resourcePropertiesCountIs(
        "AWS::Lambda::EventSourceMapping",
        { ScalingConfig: { MaximumConcurrency: 5 } },
        4,
      );
    }).not.toThrow();
    expect(() => {
      templateOf({ maxConcurrency: { low: 7 } }).hasResourceProperties("AWS::Lambda::EventSourceMapping", {
        ScalingConfig: { MaximumConcurrency: 7 },
      });
    }).not.toThrow();
  });

  test("are deployed after their permission to receive, which Lambda asks for", () => {
    for (const { DependsOn } of Object.values(resourcesOf(template, "AWS::Lambda::EventSourceMapping")))
      expect(String(DependsOn)).toMatch(/WorkerRoleDefaultPolicy/);
  });

  test("write to a log group each that forgets", () => {
    expect(() => {
      template.resourcePropertiesCountIs("AWS::Logs::LogGroup", { RetentionInDays: 30 }, 5);
    }).not.toThrow();
    const groups = Object.values(resourcesOf(template, "AWS::Lambda::Function")).map(({ Properties }) =>
      JSON.stringify(Properties?.["LoggingConfig"]),
    );
    expect(new Set(groups).size).toBe(5);
    expect(() => {
      templateOf({ logRetention: RetentionDays.ONE_WEEK }).resourcePropertiesCountIs(
        "AWS::Logs::LogGroup",
        { RetentionInDays: 7 },
        5,
      );
    }).not.toThrow();
  });

  test("keep their defaults where a setting is there without a value", () => {
    const workerProps: WorkerProps = { bundling: {} };
    // Types that are read strictly have no such setting; code that nobody checks does.
    Object.assign(workerProps, { runtime: undefined, architecture: undefined, timeout: undefined });
    Object.assign(workerProps, { memorySize: undefined, recursiveLoop: undefined });
    expect(resourcesOf(templateOf({ workerProps }), "AWS::Lambda::Function")).toEqual(
      resourcesOf(template, "AWS::Lambda::Function"),
    );
  });

  test("in a network may have its interfaces made, and nothing else of it", () => {
    const stack = makeStack();
    new TaskQueue(stack, "Tasks", { workerEntry: WORKER_ENTRY, workerProps: { vpc: networkOf(stack) } });
    const inNetwork = Template.fromStack(stack);
    for (const { Properties } of Object.values(resourcesOf(inNetwork, "AWS::IAM::Role")))
      expect(Properties).not.toHaveProperty("ManagedPolicyArns");
    const policies = Object.entries(resourcesOf(inNetwork, "AWS::IAM::Policy"));
    const network = policies.filter(([name]) => name.startsWith("TasksWorkerRoleNetwork"));
    expect(statementsOf(Object.fromEntries(network)).map(({ actions }) => actions)).toEqual([
      [
        "ec2:CreateNetworkInterface",
        "ec2:DescribeNetworkInterfaces",
        "ec2:DescribeSubnets",
        "ec2:DeleteNetworkInterface",
        "ec2:AssignPrivateIpAddresses",
        "ec2:UnassignPrivateIpAddresses",
      ],
    ]);
    // Lambda refuses a function in a network whose role may not make them.
    const inside = Object.values(resourcesOf(inNetwork, "AWS::Lambda::Function")).filter(
      ({ Properties }) => Properties?.["VpcConfig"] !== undefined,
    );
    expect(inside).toHaveLength(4);
    for (const { DependsOn } of inside) expect(DependsOn).toContain(network[0]?.[0]);
  });

  test("are missing without an entry", () => {
    const stack = makeStack();
    new TaskQueue(stack, "Tasks");
    expect(() => {
      Template.fromStack(stack).resourceCountIs("AWS::Lambda::EventSourceMapping", 0);
    }).not.toThrow();
  });

  test("take the settings of NodejsFunction", () => {
    expect(() => {
      templateOf({
        workerProps: { memorySize: 1_024, batchSize: 5, environment: { SHOP: "a" } },
      }).resourcePropertiesCountIs(
        "AWS::Lambda::Function",
        { MemorySize: 1_024, Environment: { Variables: Match.objectLike({ SHOP: "a" }) } },
        4,
      );
    }).not.toThrow();
  });
});
