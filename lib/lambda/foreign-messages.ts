import type { Producer } from "../flow/producer.ts";
import type { AnyTask, TaskInput } from "../task/define-task.ts";
import { decodeBody } from "../task/envelope.ts";
import type { EnqueueOptions } from "../task/task-ref.ts";
import type { LambdaSqsRecord } from "./lambda-event.ts";

/** A task that a foreign message stands for. */
export interface DecodedTask<T extends AnyTask = AnyTask> {
  task: T;
  input: TaskInput<T>;
  options?: EnqueueOptions | undefined;
}

/**
 * Reads a message that is no envelope of Tasklane's: an S3 event, an SNS notification, raw JSON. Answers the task or tasks that it stands
 * for, `[]` to drop it, or `undefined` if it knows nothing of it. It is never asked about envelopes. What it throws leaves the message in
 * its queue, to come again.
 */
export type DecodeMessage = (
  record: LambdaSqsRecord,
) => DecodedTask | readonly DecodedTask[] | undefined | Promise<DecodedTask | readonly DecodedTask[] | undefined>;

/** Whether a message is none of Tasklane's own. A task's own message, decoded to a task again, would never end. */
export function isForeign({ body }: LambdaSqsRecord): boolean {
  return decodeBody(body).kind === "undecodable";
}

/**
 * Enqueues what a foreign message stands for, and answers whether `decode` knew it. A message that comes twice makes its tasks once:
 * where neither the task nor the options have a key, the message's id is the key.
 *
 * @throws whatever `decode` throws, and what refuses a task
 */
export async function takeForeign(
  producer: Producer,
  decode: DecodeMessage,
  record: LambdaSqsRecord,
): Promise<boolean> {
  const decoded = await decode(record);
  if (decoded === undefined) return false;
  const tasks: readonly DecodedTask[] = isList(decoded) ? decoded : [decoded];
  for (const [place, { task, input, options = {} }] of tasks.entries()) {
    const hasKey =
      options.idempotencyKey !== undefined || options.id !== undefined || task.idempotencyKey !== undefined;
    const key = hasKey ? {} : { idempotencyKey: `${record.messageId}/${place}` };
    await producer.enqueue(task, input, { ...options, ...key });
  }
  return true;
}

function isList(decoded: DecodedTask | readonly DecodedTask[]): decoded is readonly DecodedTask[] {
  return Array.isArray(decoded);
}
