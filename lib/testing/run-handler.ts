import type { TaskContext } from "../task/context.ts";
import type { AnyTask, TaskHandler, TaskInput } from "../task/define-task.ts";
import { TasklaneError } from "../task/errors.ts";
import { canonicalJson } from "../task/json.ts";
import { describeIssues, inputInvalid, validate } from "../task/standard-schema.ts";

/** What the handler is told of its attempt; everything has a default. */
export type HandlerContext = Partial<TaskContext>;

/**
 * Runs one handler as a worker would: the input goes through JSON and the schema, the result through the output schema.
 * No queue, no retries; what the handler throws is thrown.
 *
 * @throws TasklaneError `INPUT_NOT_JSON`, `INPUT_INVALID`, `OUTPUT_INVALID`
 */
export async function runHandler<T extends AnyTask>(
  handler: TaskHandler<T>,
  input: NoInfer<TaskInput<T>>,
  context: HandlerContext = {},
): Promise<unknown> {
  const { definition } = handler;
  const raw: unknown = JSON.parse(canonicalJson(input, `input of task "${definition.name}"`));
  const checked = await validate(definition.input, raw);
  if (!checked.ok) throw inputInvalid(definition.name, checked.issues);
  const result = await handler.run(checked.value, { ...plainContext(definition.name), ...context });
  if (definition.output === undefined) return undefined;
  const output: unknown = JSON.parse(canonicalJson(result, `result of task "${definition.name}"`));
  const valid = await validate(definition.output, output);
  if (valid.ok) return valid.value;
  throw new TasklaneError("OUTPUT_INVALID", {
    what: `The result of task "${definition.name}" does not match its schema: ${describeIssues(valid.issues)}`,
  });
}

function plainContext(task: string): TaskContext {
  const quiet = (): void => undefined;
  return {
    taskId: "test-task-000000",
    task,
    attempt: 1,
    fence: 1,
    idempotencyKey: "test-task-000000",
    traceparent: undefined,
    signal: new AbortController().signal,
    log: { debug: quiet, info: quiet, warn: quiet, error: quiet },
    progress: async () => undefined,
    enqueue: () =>
      Promise.reject(
        new TasklaneError("OPTION_INVALID", {
          what: `The handler of task "${task}" enqueued, and runHandler has no queue`,
          fix: "pass { enqueue } as context, or use createMemoryQueue",
        }),
      ),
  };
}
