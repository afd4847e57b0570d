import PDFDocument from "pdfkit";
import { PRODUCTS } from "./catalogue.ts";
import { formatMoney, orderTotals } from "./orders.ts";
import type { Order } from "./orders.ts";

const LEFT_PT = 56;
const RIGHT_PT = 540;
const COLUMNS_PT = { quantity: 290, unit: 360, amount: 450 } as const;

/**
 * Draws the invoice of an order as a PDF on one page.
 * The same order gives the same bytes, so an attempt that runs again changes nothing.
 */
export async function makeInvoice(order: Order): Promise<Buffer> {
  const totals = orderTotals(order);
  const document = new PDFDocument({
    size: "A4",
    margin: LEFT_PT,
    info: {
      Title: `Invoice ${order.id}`,
      Author: "The Photo Shop",
      Subject: `${order.name}: ${formatMoney(totals.grossCents)}`,
      // Otherwise the PDF would carry the time of the attempt.
      CreationDate: new Date(order.placedAt),
    },
  });
  const pdf = collect(document);

  document.font("Helvetica-Bold").fontSize(22).text("The Photo Shop", LEFT_PT, 56);
  document.font("Helvetica").fontSize(10);
  document.text(`Invoice ${order.id}`, LEFT_PT, 92).text(`Date ${order.placedAt.slice(0, 10)}`);
  document.moveDown(2);
  for (const line of [order.name, order.street, `${order.postcode} ${order.city}`, order.country]) {
    document.text(drawable(line));
  }

  let y = 240;
  document.font("Helvetica-Bold");
  drawRow(document, y, ["Item", "Quantity", "Each", "Amount"]);
  document.font("Helvetica");
  y = drawRule(document, y + 16);
  for (const line of order.lines) {
    const name = PRODUCTS[line.sku]?.name ?? line.sku;
    const amount = formatMoney(line.quantity * line.unitCents);
    drawRow(document, y, [name, String(line.quantity), formatMoney(line.unitCents), amount]);
    y += 18;
  }
  y = drawRule(document, y + 4);
  drawRow(document, y, ["Net", "", "", formatMoney(totals.netCents)]);
  drawRow(document, y + 18, [`VAT ${totals.vatPercent} %`, "", "", formatMoney(totals.vatCents)]);
  document.font("Helvetica-Bold");
  drawRow(document, y + 40, ["Total", "", "", formatMoney(totals.grossCents)]);
  document.font("Helvetica").text("Paid by card. Thank you!", LEFT_PT, y + 84);

  document.end();
  return pdf;
}

async function collect(document: PDFKit.PDFDocument): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of document) {
    chunks.push(chunk as Buffer);
  }
  return Buffer.concat(chunks);
}

function drawRow(document: PDFKit.PDFDocument, y: number, cells: [string, string, string, string]): void {
  const [item, quantity, unit, amount] = cells;
  document.text(drawable(item), LEFT_PT, y);
  document.text(quantity, COLUMNS_PT.quantity, y, { width: 60, align: "right" });
  document.text(unit, COLUMNS_PT.unit, y, { width: 80, align: "right" });
  document.text(amount, COLUMNS_PT.amount, y, { width: RIGHT_PT - COLUMNS_PT.amount, align: "right" });
}

function drawRule(document: PDFKit.PDFDocument, y: number): number {
  document.moveTo(LEFT_PT, y).lineTo(RIGHT_PT, y).lineWidth(0.5).stroke();
  return y + 8;
}

/**
 * The fonts built into every PDF reader know western letters only: `Łódź` is drawn as `Lódz`, and an emoji is left out.
 * A shop with its own font file would embed that and drop this.
 */
function drawable(text: string): string {
  const western = /[\u0020-\u007e\u00a0-\u00ff\u2018\u2019\u2013\u20ac]/u;
  return [...text.normalize("NFC").replaceAll("Ł", "L").replaceAll("ł", "l")]
    .map((letter) => (western.test(letter) ? letter : letter.normalize("NFD").replaceAll(/[^\u0020-\u007e]/gu, "")))
    .join("")
    .trim();
}
