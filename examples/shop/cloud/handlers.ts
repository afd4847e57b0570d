/**
 * The shop's work as it runs on Lambda: the same contracts and the same pure parts as the demo, with a bucket in place of a folder, and a
 * charge that is noted instead of made. Thumbnails are left out: they need a native library, which a bundle cannot hold.
 */
import { TerminalError } from "../../../lib/index.ts";
import type { TaskHandler } from "../../../lib/index.ts";
import { isCardToken } from "../card-token.ts";
import { makeInvoice as drawInvoice } from "../invoice.ts";
import { dayAsCsv, summariseDay } from "../nightly.ts";
import { orderTotals } from "../orders.ts";
import { makeReceipt, receiptMessageId } from "../receipt.ts";
import { chargeCard, makeInvoice, nightlyExport, sendReceipt } from "../tasks.ts";
import type { ArtifactBucket } from "./artifact-bucket.ts";

/** What the deployed shop can do: a charge leads to an invoice, and that to a receipt. */
export function cloudHandlers(bucket: ArtifactBucket): readonly TaskHandler[] {
  return [
    chargeCard.handle(async (order, ctx) => {
      if (!isCardToken(order.cardToken)) throw new TerminalError("the card token was mistyped");
      const chargeId = `charge-${order.id}`;
      const charge = { chargeId, cents: orderTotals(order).grossCents, idempotencyKey: ctx.idempotencyKey };
      await bucket.put(`charges/${order.id}.json`, JSON.stringify(charge), "application/json");
      await ctx.enqueue(makeInvoice, order);
      return { chargeId };
    }),
    makeInvoice.handle(async (order, ctx) => {
      const file = `invoices/${order.id}.pdf`;
      const pdf = await drawInvoice(order);
      await bucket.put(file, pdf, "application/pdf");
      await ctx.enqueue(sendReceipt, order);
      return { file, bytes: pdf.length };
    }),
    sendReceipt.handle(async (order) => {
      const invoice = await bucket.get(`invoices/${order.id}.pdf`);
      await bucket.put(`receipts/${order.id}.eml`, await makeReceipt(order, invoice), "message/rfc822");
      return { messageId: receiptMessageId(order.id) };
    }),
    nightlyExport.handle(async ({ day, orders }) => {
      const summary = summariseDay(day, orders);
      await bucket.put(`export/${day}.csv`, dayAsCsv(orders), "text/csv");
      return { orders: summary.orders, grossCents: summary.grossCents };
    }),
  ];
}
