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
  // Not before the stacks know of each other: a bucket of another one is then an import or a parameter.
  role.node.addValidation({
    validate: () => {
      Validations.of(role).acknowledge(
        ...objectArns(bucketArn).map((arn) => ({
          id: `AwsSolutions-IAM5[Resource::${readable(Stack.of(role).resolve(arn))}]`,
          reason: "The key of a payload holds its task's id, which nobody knows before there is the task.",
        })),
      );
      return [];
    },
  });
}

/** Writes a resolved value as cdk-nag names it in a finding. */
function readable(value: unknown): string {
  if (typeof value !== "object" || value === null) return String(value);
  const [call, operand]: [string, unknown] = Object.entries(value)[0] ?? ["", undefined];
  if (call === "Ref") return `<${readable(operand)}>`;
  if (call === "Fn::GetAtt" && Array.isArray(operand)) return `<${operand.map(readable).join(".")}>`;
  if (call === "Fn::ImportValue") return readable(operand);
  if (call === "Fn::Join" && Array.isArray(operand) && Array.isArray(operand[1]))
    return operand[1].map(readable).join(String(operand[0]));
  return JSON.stringify(value);
}
