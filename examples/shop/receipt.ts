import MailComposer from "nodemailer/lib/mail-composer";
import { PRODUCTS } from "./catalogue.ts";
import { formatMoney, orderTotals } from "./orders.ts";
import type { Order } from "./orders.ts";

/** The same order has the same message id, so a mail server can drop a second copy. */
export function receiptMessageId(orderId: string): string {
  return `<receipt.${orderId}@photo-shop.example>`;
}

/** The text of a receipt, also kept word for word in the nightly export. */
export function receiptText(order: Order): string {
  const lines = order.lines.map((line) => {
    const name = PRODUCTS[line.sku]?.name ?? line.sku;
    return `  ${line.quantity} × ${name}: ${formatMoney(line.quantity * line.unitCents)}`;
  });
  const { vatPercent, vatCents, grossCents } = orderTotals(order);
  return [
    `Dear ${order.name},`,
    "",
    `thank you for your order ${order.id}:`,
    ...lines,
    `  VAT ${vatPercent} %: ${formatMoney(vatCents)}`,
    "",
    `We charged ${formatMoney(grossCents)} to your card. The invoice is attached.`,
    ...(order.note === "" ? [] : ["", `Your note: ${order.note}`]),
    "",
    "The Photo Shop 📷",
    "",
  ].join("\n");
}

/** Composes the receipt as an RFC 5322 message with the invoice attached; the bytes are what goes into an `.eml` file. */
export async function makeReceipt(order: Order, invoice: Uint8Array): Promise<Buffer> {
  const mail = new MailComposer({
    from: { name: "The Photo Shop 📷", address: "orders@example.com" },
    to: { name: order.name, address: order.email },
    subject: `Your order ${order.id} 🎁`,
    date: new Date(order.placedAt),
    messageId: receiptMessageId(order.id),
    // Otherwise the boundary is random, and two attempts would differ in their bytes.
    baseBoundary: `order-${order.id}`,
    text: receiptText(order),
    attachments: [
      { filename: `invoice-${order.id}.pdf`, content: Buffer.from(invoice), contentType: "application/pdf" },
    ],
  });
  return mail.compile().build();
}
