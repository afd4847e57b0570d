import { Stack, Validations } from "aws-cdk-lib";
import type { IGrantable } from "aws-cdk-lib/aws-iam";
import { Construct } from "constructs";
import { LIFE_CLASSES } from "../lib/task/payload-ref.ts";

/** The objects of the payload bucket: those under the prefixes of life classes, and no others. */
export function objectArns(bucketArn: string): string[] {
  return LIFE_CLASSES.map(({ prefix }) => `${bucketArn}/${prefix}/*`);
}

/**
 * Tells cdk-nag why permissions on objects end in a wildcard, on the role that has them and for exactly these resources, so that
 * wildcards of an app's own are still found.
 */
export function acknowledgeObjectKeys(grantee: IGrantable, bucketArn: string): void {
  const role = grantee.grantPrincipal;
  if (!Construct.isConstruct(role)) return;
  const bucket = readable(Stack.of(role).resolve(bucketArn));
  Validations.of(role).acknowledge(
    ...objectArns(bucket).map((arn) => ({
      id: `AwsSolutions-IAM5[Resource::${arn}]`,
      reason: "The key of a payload holds its task's id, which nobody knows before there is the task.",
    })),
  );
}

/** Writes a resolved value as cdk-nag names it in a finding. */
function readable(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const [call, operand]: [string, unknown] = Object.entries(value)[0] ?? ["", undefined];
  if (call === "Ref") return `<${operand}>`;
  if (call === "Fn::GetAtt" && Array.isArray(operand)) return `<${operand.join(".")}>`;
  if (call === "Fn::Join" && Array.isArray(operand) && Array.isArray(operand[1]))
    return operand[1].map(readable).join(String(operand[0]));
  return `<${call}>`;
}
