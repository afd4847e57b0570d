/** What the shop does in the background: five contracts, safe to import anywhere. */
import { z } from "zod";
import { defineRateLimit, defineTask } from "../../lib/index.ts";
import { orderSchema } from "./orders.ts";

/** What the supplier of card payments allows, over all workers together. */
export const cardSupplier = defineRateLimit({ name: "card-supplier", limit: 20, per: "1s", burst: 10 });

/** Takes the money. An order is charged once, however often it is submitted. */
export const chargeCard = defineTask({
  name: "charge-card",
  input: orderSchema,
  output: z.object({ chargeId: z.string() }),
  lane: "critical",
  idempotencyKey: (order) => order.id,
  rateLimit: cardSupplier,
  backoff: { initial: "500ms", factor: 2, max: "4s" },
  timeout: "10s",
});

/** Draws the invoice as a PDF. */
export const makeInvoice = defineTask({
  name: "make-invoice",
  input: orderSchema,
  output: z.object({ file: z.string(), bytes: z.int() }),
  idempotencyKey: (order) => order.id,
});

/** Sends the receipt with the invoice attached. */
export const sendReceipt = defineTask({
  name: "send-receipt",
  input: orderSchema,
  output: z.object({ messageId: z.string() }),
  lane: "high",
  idempotencyKey: (order) => order.id,
});

/** Makes the small picture that the page of the order shows. */
export const makeThumbnail = defineTask({
  name: "make-thumbnail",
  input: z.object({ orderId: z.string(), photo: z.string() }),
  output: z.object({ file: z.string(), bytes: z.int() }),
  lane: "high",
  idempotencyKey: (input) => input.orderId,
  maxCrashes: 3,
});

/** Adds up a day. Its input is all orders with their full text, more than a message can hold, so it travels through S3. */
export const nightlyExport = defineTask({
  name: "nightly-export",
  input: z.object({ day: z.iso.date(), orders: z.array(orderSchema.extend({ fullText: z.string() })) }),
  output: z.object({ orders: z.int(), grossCents: z.int() }),
  lane: "low",
  idempotencyKey: (input) => input.day,
});
