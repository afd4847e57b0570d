import { RemovalPolicy, Validations } from "aws-cdk-lib";
import type { IRole } from "aws-cdk-lib/aws-iam";
import { Policy, PolicyStatement, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import { LogGroup } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";

/** https://docs.aws.amazon.com/lambda/latest/dg/configuration-vpc.html#configuration-vpc-permissions */
const NETWORK_ACTIONS = [
  "ec2:CreateNetworkInterface",
  "ec2:DescribeNetworkInterfaces",
  "ec2:DescribeSubnets",
  "ec2:DeleteNetworkInterface",
  "ec2:AssignPrivateIpAddresses",
  "ec2:UnassignPrivateIpAddresses",
];

/** Makes a role for functions. It has no permission yet: AWS's managed policies would open every log group of the account. */
export function makeFunctionRole(scope: Construct, id: string, inVpc = false): Role {
  const role = new Role(scope, id, { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
  if (!inVpc) return role;
  // A policy of its own, so that what is acknowledged here is acknowledged nowhere else.
  const network = new Policy(role, "Network", {
    statements: [new PolicyStatement({ actions: NETWORK_ACTIONS, resources: ["*"] })],
    roles: [role],
  });
  Validations.of(network).acknowledge({
    id: "AwsSolutions-IAM5[Resource::*]",
    reason: "Lambda makes the network interfaces of a function, whose ids nobody knows before, and describes them all.",
  });
  return role;
}

/** Makes the log group of a function whose role may write to it. */
export function makeLogGroup(scope: Construct, id: string, retention: RetentionDays, role: IRole): LogGroup {
  const logGroup = new LogGroup(scope, id, { retention, removalPolicy: RemovalPolicy.DESTROY });
  logGroup.grantWrite(role);
  return logGroup;
}
