import type { StandardSchemaV1 } from "@standard-schema/spec";
import type { SchemaIssue } from "./errors.ts";
import { InputInvalidError } from "./errors.ts";
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

/** Issues in one text, and characters of each: a schema may find something wrong with every entry of a long list. */
const ISSUES_SHOWN_MAX = 10;
const ISSUE_MAX_CHARS = 200;

/** Writes issues as one line for an error text. */
export function describeIssues(issues: readonly SchemaIssue[]): string {
  const shown = issues.slice(0, ISSUES_SHOWN_MAX).map(describeIssue).join("; ");
  return issues.length > ISSUES_SHOWN_MAX ? `${shown}; and ${issues.length - ISSUES_SHOWN_MAX} more` : shown;
}

function describeIssue({ path, message }: SchemaIssue): string {
  const text = path === "" ? message : `${path}: ${message}`;
  return text.length > ISSUE_MAX_CHARS ? `${text.slice(0, ISSUE_MAX_CHARS)}…` : text;
}

/** Says that an input does not match its task's schema, and where. */
export function inputInvalid(task: string, issues: readonly SchemaIssue[]): InputInvalidError {
  const what = `The input of task "${task}" does not match its schema: ${describeIssues(issues)}`;
  return new InputInvalidError({ what, fix: "mend the input, or the schema" }, issues);
}
