/** The functions that do the work. Each may run more than once for one task, and is written so that this does no harm. */
import { readFileSync } from "node:fs";
import { outPath, writeWhole } from "./artifacts.ts";
import { makeInvoice as drawInvoice } from "./invoice.ts";
import { journalEnqueue, journalStart } from "./journals.ts";
import { dayAsCsv, summariseDay } from "./nightly.ts";
import { orderTotals } from "./orders.ts";
import { PILL_PHOTO } from "./photos.ts";
import { makeReceipt, receiptMessageId } from "./receipt.ts";
import { chargeCardAtSupplier } from "./supplier-client.ts";
import { chargeCard, makeInvoice, makeThumbnail, nightlyExport, sendReceipt } from "./tasks.ts";
import { makeThumbnail as resizePhoto } from "./thumbnail.ts";

const chargeCardHandler = chargeCard.handle(async (order, ctx) => {
  journalStart(ctx);
  const { grossCents } = orderTotals(order);
  // The order's own id: the supplier's books then name the order. `ctx.idempotencyKey` would do as well; a redrive keeps it.
  const request = { idempotencyKey: order.id, cents: grossCents, cardToken: order.cardToken };
  const { chargeId } = await chargeCardAtSupplier(request, ctx.signal);
  // Enqueued before this task is settled: a crash in between runs this again, and the key makes it one invoice.
  journalEnqueue(makeInvoice, await ctx.enqueue(makeInvoice, order));
  return { chargeId };
});

const makeInvoiceHandler = makeInvoice.handle(async (order, ctx) => {
  journalStart(ctx);
  const file = outPath("invoices", `${order.id}.pdf`);
  const pdf = await drawInvoice(order);
  writeWhole(file, pdf);
  journalEnqueue(sendReceipt, await ctx.enqueue(sendReceipt, order));
  return { file, bytes: pdf.length };
});

const sendReceiptHandler = sendReceipt.handle(async (order, ctx) => {
  journalStart(ctx);
  const invoice = readFileSync(outPath("invoices", `${order.id}.pdf`));
  writeWhole(outPath("receipts", `${order.id}.eml`), await makeReceipt(order, invoice));
  return { messageId: receiptMessageId(order.id) };
});

const makeThumbnailHandler = makeThumbnail.handle(async ({ orderId, photo }, ctx) => {
  journalStart(ctx);
  if (photo === PILL_PHOTO) process.abort();
  const file = outPath("thumbnails", `${orderId}.jpg`);
  const thumbnail = await resizePhoto(readFileSync(outPath("photos", photo)));
  writeWhole(file, thumbnail);
  return { file, bytes: thumbnail.length };
});

const nightlyExportHandler = nightlyExport.handle(({ day, orders }, ctx) => {
  journalStart(ctx);
  const summary = summariseDay(day, orders);
  writeWhole(outPath("export", `${day}.csv`), dayAsCsv(orders));
  writeWhole(outPath("export", `${day}.json`), `${JSON.stringify(summary, undefined, 2)}\n`);
  return { orders: summary.orders, grossCents: summary.grossCents };
});

/** What a worker of the shop can do. */
export const handlers = [
  chargeCardHandler,
  makeInvoiceHandler,
  sendReceiptHandler,
  makeThumbnailHandler,
  nightlyExportHandler,
];
