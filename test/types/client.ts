import type {
  AnyTask,
  Duration,
  EnqueuedTask,
  EnqueueEntry,
  EnqueueOptions,
  TaskInput,
  TaskRef,
  TasklaneClient,
} from "../../lib/index.ts";
import { chargeCard, makeInvoice, nightlyExport, resize, sendReceipt } from "./define-task.ts";
import type { Equal } from "./equal.ts";
import { check } from "./equal.ts";

declare const client: TasklaneClient;
declare const at: Date;

export async function enqueue(): Promise<void> {
  const task = await client.enqueue(sendReceipt, { orderId: "o-1", to: "a@b" });
  check<Equal<typeof task, EnqueuedTask<typeof sendReceipt>>>();
  check<Equal<typeof task.id, string>>();
  check<Equal<typeof task.duplicate, boolean>>();
  check<Equal<Awaited<ReturnType<typeof task.result>>, { messageId: string }>>();

  // The result is the output side of the schema, and undefined without one.
  check<Equal<Awaited<ReturnType<EnqueuedTask<typeof chargeCard>["result"]>>, { receipt: URL }>>();
  check<Equal<Awaited<ReturnType<EnqueuedTask<typeof resize>["result"]>>, string>>();
  check<Equal<Awaited<ReturnType<EnqueuedTask<typeof nightlyExport>["result"]>>, undefined>>();

  await client.enqueue(makeInvoice, { orderId: "o-1" });
  await client.enqueue(makeInvoice, { orderId: "o-1", copies: 2 });
  // The producer gives the input side of a transform.
  await client.enqueue(chargeCard, { cents: "500", at: "2026-11-24T00:00:00Z" });
  await client.enqueue(resize, "500");
  // @ts-expect-error the output side of a transform
  await client.enqueue(chargeCard, { cents: 500, at: "2026-11-24T00:00:00Z" });
  // @ts-expect-error the output side of a transform
  await client.enqueue(chargeCard, { cents: "500", at });
  // @ts-expect-error the output side of a valibot transform
  await client.enqueue(resize, 500);

  // @ts-expect-error a field of the wrong type
  await client.enqueue(sendReceipt, { orderId: 5, to: "a@b" });
  // @ts-expect-error a field is missing
  await client.enqueue(sendReceipt, { orderId: "o-1" });
  // @ts-expect-error a field that does not exist
  await client.enqueue(sendReceipt, { orderId: "o-1", to: "a@b", cc: "c@d" });
  // @ts-expect-error another task's input
  await client.enqueue(sendReceipt, { day: "2026-11-24" });
  // @ts-expect-error a wrong input of a valibot schema
  await client.enqueue(makeInvoice, { orderId: "o-1", copies: "2" });
  // @ts-expect-error no input
  await client.enqueue(sendReceipt);
  // @ts-expect-error a name is no task
  await client.enqueue("send-receipt", { orderId: "o-1", to: "a@b" });
}

export async function enqueueWithOptions(): Promise<void> {
  const input = { orderId: "o-1", to: "a@b" };
  await client.enqueue(sendReceipt, input, {});
  await client.enqueue(sendReceipt, input, { delay: "10m", expires: "1h", meta: { by: "checkout", tags: ["a"] } });
  await client.enqueue(sendReceipt, input, { runAt: at, expires: at, lane: "critical", idempotencyKey: "k" });
  await client.enqueue(sendReceipt, input, { delay: undefined, runAt: undefined, lane: undefined });
  // @ts-expect-error both delay and runAt
  await client.enqueue(sendReceipt, input, { delay: "10m", runAt: at });
  // @ts-expect-error a wrong lane
  await client.enqueue(sendReceipt, input, { lane: "urgent" });
  // @ts-expect-error a wrong duration
  await client.enqueue(sendReceipt, input, { delay: "soon" });
  // @ts-expect-error a number is no duration
  await client.enqueue(sendReceipt, input, { delay: 600 });
  // @ts-expect-error a wrong duration of expires
  await client.enqueue(sendReceipt, input, { expires: "1 hour" });
  // @ts-expect-error a text is no date
  await client.enqueue(sendReceipt, input, { runAt: "2026-11-24" });
  // @ts-expect-error meta is JSON
  await client.enqueue(sendReceipt, input, { meta: { at } });
  // @ts-expect-error an option that does not exist
  await client.enqueue(sendReceipt, input, { priority: 1 });
  // @ts-expect-error an idempotency key is a text
  await client.enqueue(sendReceipt, input, { idempotencyKey: 5 });

  const options: EnqueueOptions = { delay: "5m" };
  await client.enqueue(sendReceipt, input, options);
  // @ts-expect-error both delay and runAt
  const both: EnqueueOptions = { delay: "5m", runAt: at };
  await client.enqueue(sendReceipt, input, both);
}

export async function enqueueMany(): Promise<void> {
  const input = { orderId: "o-1", to: "a@b" };
  const tasks = await client.enqueueMany(sendReceipt, [{ input }, { input, options: { delay: "5m", lane: "low" } }]);
  check<Equal<typeof tasks, EnqueuedTask<typeof sendReceipt>[]>>();
  const entries: readonly EnqueueEntry<typeof sendReceipt>[] = [{ input }];
  await client.enqueueMany(sendReceipt, entries);
  await client.enqueueMany(sendReceipt, []);
  // @ts-expect-error a wrong input in an entry
  await client.enqueueMany(sendReceipt, [{ input: { orderId: 5, to: "a@b" } }]);
  // @ts-expect-error a bare input is no entry
  await client.enqueueMany(sendReceipt, [input]);
  // @ts-expect-error a wrong duration in an entry
  await client.enqueueMany(sendReceipt, [{ input, options: { delay: "soon" } }]);
  // @ts-expect-error both delay and runAt in an entry
  await client.enqueueMany(sendReceipt, [{ input, options: { delay: "5m", runAt: at } }]);
  // @ts-expect-error another task's entries
  await client.enqueueMany(nightlyExport, entries);
}

export async function handles(): Promise<void> {
  const ref = client.task(sendReceipt, "id");
  check<Equal<typeof ref, TaskRef<typeof sendReceipt>>>();
  check<Equal<Awaited<ReturnType<typeof ref.result>>, { messageId: string }>>();
  await ref.result({ timeout: "30s" });
  await ref.redrive();
  await ref.redrive({ input: { orderId: "o-2", to: "a@b" } });
  // @ts-expect-error a wrong input of a redrive
  await ref.redrive({ input: { orderId: 5, to: "a@b" } });
  // @ts-expect-error a wrong duration
  await ref.result({ timeout: 30 });
  // @ts-expect-error an id is a text
  client.task(sendReceipt, 5);

  // A handle of a known task is a handle of some task, whose result is not known.
  const refs: TaskRef[] = [ref, await client.enqueue(nightlyExport, { day: "2026-11-24" })];
  check<Equal<Awaited<ReturnType<(typeof refs)[number]["result"]>>, unknown>>();

  for await (const details of client.list({ state: "dead", task: "send-receipt" }))
    check<Equal<typeof details.id, string>>();
  // @ts-expect-error a wrong state: a scheduled task is queued
  client.list({ state: "scheduled" });
}

// Code that does not know the task takes any, and keeps its types.
export function enqueueLater<T extends AnyTask>(
  task: T,
  input: TaskInput<T>,
  delay: Duration,
): Promise<EnqueuedTask<T>> {
  return client.enqueue(task, input, { delay });
}
export async function useEnqueueLater(): Promise<void> {
  const task = await enqueueLater(sendReceipt, { orderId: "o-1", to: "a@b" }, "5m");
  check<Equal<Awaited<ReturnType<typeof task.result>>, { messageId: string }>>();
}
