/** The producer's side: what the pages of the shop do when a customer presses the button. */
import type { EnqueuedTask, TasklaneClient } from "../../lib/index.ts";
import { journalEnqueue } from "./journals.ts";
import { archiveOrders } from "./nightly.ts";
import type { Order } from "./orders.ts";
import { chargeCard, makeThumbnail, nightlyExport } from "./tasks.ts";

/** An order with the two tasks it begins with; the others follow from the charge. */
export interface SubmittedOrder {
  readonly order: Order;
  readonly charge: EnqueuedTask<typeof chargeCard>;
  readonly thumbnail: EnqueuedTask<typeof makeThumbnail>;
}

const CUSTOMERS_AT_ONCE = 10;

/** Submits one order. A second time it gets the same two tasks, marked as duplicates. */
export async function submitOrder(client: TasklaneClient, order: Order): Promise<SubmittedOrder> {
  const [charge, thumbnail] = await Promise.all([
    client.enqueue(chargeCard, order, { meta: { by: "checkout" } }),
    client.enqueue(makeThumbnail, { orderId: order.id, photo: order.photo }, { meta: { by: "checkout" } }),
  ]);
  journalEnqueue(chargeCard, charge);
  journalEnqueue(makeThumbnail, thumbnail);
  return { order, charge, thumbnail };
}

/** Submits orders, a few at once. */
export async function submitOrders(client: TasklaneClient, orders: readonly Order[]): Promise<SubmittedOrder[]> {
  const submitted: SubmittedOrder[] = [];
  for (let first = 0; first < orders.length; first += CUSTOMERS_AT_ONCE) {
    const customers = orders.slice(first, first + CUSTOMERS_AT_ONCE);
    submitted.push(...(await Promise.all(customers.map((order) => submitOrder(client, order)))));
  }
  return submitted;
}

/** Closes the books of a day. */
export async function submitExport(
  client: TasklaneClient,
  day: string,
  orders: readonly Order[],
): Promise<EnqueuedTask<typeof nightlyExport>> {
  const enqueued = await client.enqueue(nightlyExport, { day, orders: archiveOrders(orders) });
  journalEnqueue(nightlyExport, enqueued);
  return enqueued;
}
