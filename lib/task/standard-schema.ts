import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { SchemaIssue } from "./errors.ts";
import { describeFailure } from "./outcome.ts";

/** Any schema of the Standard Schema family: zod, valibot, arktype and others. https://standardschema.dev */
export type AnySchema = StandardSchemaV1;

/** A value that a schema accepted, or what it found wrong. */
export type Validation<T> = { ok: true; value: T } | { ok: false; issues: SchemaIssue[] };

/** Runs a schema over a value. A schema that throws counts as one issue, so that a bug in it loses no task. */
export async function validate<S extends AnySchema>(
  schema: S,
  value: unknown,
): Promise<Validation<StandardSchemaV1.InferOutput<S>>> {
  try {
    const result: StandardSchemaV1.Result<StandardSchemaV1.InferOutput<S>> = await schema["~standard"].validate(value);
    if (result.issues === undefined) return { ok: true, value: result.value };
    return { ok: false, issues: result.issues.map(readIssue) };
  } catch (error) {
    return { ok: false, issues: [{ message: `the schema threw: ${describeFailure(error).message}`, path: "" }] };
  }
}

function readIssue(issue: StandardSchemaV1.Issue): SchemaIssue {
  const path = (issue.path ?? []).map((part) => String(typeof part === "object" ? part.key : part)).join(".");
  return { message: issue.message, path };
}

/** Writes issues as one line for an error text. */
export function describeIssues(issues: readonly SchemaIssue[]): string {
  return issues.map((issue) => (issue.path === "" ? issue.message : `${issue.path}: ${issue.message}`)).join("; ");
}
