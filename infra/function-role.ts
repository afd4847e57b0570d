import { RemovalPolicy } from "aws-cdk-lib";
import type { IRole } from "aws-cdk-lib/aws-iam";
import { ManagedPolicy, Role, ServicePrincipal } from "aws-cdk-lib/aws-iam";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import { LogGroup } from "aws-cdk-lib/aws-logs";
import type { Construct } from "constructs";

/** Makes a role for functions. It has no permission yet: AWS's managed policy would open every log group of the account. */
export function makeFunctionRole(scope: Construct, id: string, inVpc = false): Role {
  const role = new Role(scope, id, { assumedBy: new ServicePrincipal("lambda.amazonaws.com") });
  if (inVpc)
    role.addManagedPolicy(ManagedPolicy.fromAwsManagedPolicyName("service-role/AWSLambdaVPCAccessExecutionRole"));
  return role;
}

/** Makes the log group of a function whose role may write to it. */
export function makeLogGroup(scope: Construct, id: string, retention: RetentionDays, role: IRole): LogGroup {
  const logGroup = new LogGroup(scope, id, { retention, removalPolicy: RemovalPolicy.DESTROY });
  logGroup.grantWrite(role);
  return logGroup;
}
