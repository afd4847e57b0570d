import type { FailureListener, SqsBatch } from "./batch.ts";
import { failRecord, removeRecords } from "./batch.ts";
import type { Copy, PlainQueue } from "./queue.ts";

/**
 * Sends records back to their queue as copies, and takes them away from the handler. What could not be sent is reported as
 * failed, so that the original comes again.
 *
 * What was sent is acknowledged at once, and not only by the report: if the invocation dies, its messages become visible again,
 * and each round would double those that were sent back.
 */
export async function putBack(
  batch: SqsBatch,
  queue: PlainQueue,
  copies: readonly Copy[],
  tell: FailureListener,
): Promise<void> {
  if (copies.length === 0) return;
  const outcomes = await queue.send(copies);
  const sent = copies.flatMap(({ record }, place) => {
    const outcome = outcomes[place];
    if (outcome?.ok === true) return [record];
    failRecord(batch, record, outcome?.error, tell);
    return [];
  });
  for (const { messageId } of sent) batch.gone.add(messageId);
  removeRecords(batch, batch.gone);
  await queue.acknowledge(sent);
}
