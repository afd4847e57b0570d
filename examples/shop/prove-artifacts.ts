/** Checks every file that the run left, and the supplier's books, against the orders. */
import { readdirSync, readFileSync } from "node:fs";
import { outPath } from "./artifacts.ts";
import { checkAll, checkEqual, checkNone, differences } from "./check.ts";
import type { Check } from "./check.ts";
import { summariseDay } from "./nightly.ts";
import { formatMoney, orderTotals } from "./orders.ts";
import type { Order } from "./orders.ts";
import { PILL_PHOTO } from "./photos.ts";
import { readMessage, readPdfText } from "./read-back.ts";
import { receiptMessageId } from "./receipt.ts";
import type { Charge } from "./supplier.ts";
import { makeThumbnail } from "./thumbnail.ts";

export async function proveArtifacts(orders: readonly Order[], day: string): Promise<Check[]> {
  return [
    ...(await checkAll("the supplier's books", () => proveBooks(orders, readBooks()))),
    ...(await checkAll("the invoices", () => proveInvoices(orders))),
    ...(await checkAll("the receipts", () => proveReceipts(orders))),
    ...(await checkAll("the thumbnails", () => proveThumbnails(orders))),
    ...(await checkAll("the nightly export", () => proveExport(orders, day, readBooks()))),
  ];
}

/** The supplier writes its books itself, into a file that no handler touches. */
function readBooks(): Charge[] {
  const lines = readFileSync(outPath("supplier-books.jsonl"), "utf8").trimEnd().split("\n");
  return lines.map((line) => JSON.parse(line) as Charge);
}

function proveBooks(orders: readonly Order[], books: readonly Charge[]): Check[] {
  const charged = Map.groupBy(books, (charge) => charge.idempotencyKey);
  const sums = (order: Order): number[] => (charged.get(order.id) ?? []).map((charge) => charge.cents);
  return [
    checkNone(
      `${orders.length} orders charged exactly once and with the right sum, by the supplier's books`,
      differences(orders, sums, (order) => [orderTotals(order).grossCents]),
    ),
    checkEqual("the supplier charged nobody else", charged.size, orders.length),
  ];
}

function proveInvoices(orders: readonly Order[]): Check[] {
  const drawn = (order: Order): string[] =>
    readPdfText(readFileSync(outPath("invoices", `${order.id}.pdf`))).filter((text) => /^(EUR |Invoice )/.test(text));
  const expected = (order: Order): string[] => {
    const { netCents, vatCents, grossCents } = orderTotals(order);
    const lines = order.lines.flatMap(({ quantity, unitCents }) => [unitCents, quantity * unitCents]);
    return [`Invoice ${order.id}`, ...[...lines, netCents, vatCents, grossCents].map(formatMoney)];
  };
  return [
    checkFolder("invoices", orders, "pdf"),
    checkNone(`${orders.length} invoices show the right lines, tax and total`, differences(orders, drawn, expected)),
  ];
}

function proveReceipts(orders: readonly Order[]): Check[] {
  const found = (order: Order): unknown[] => {
    const message = readMessage(readFileSync(outPath("receipts", `${order.id}.eml`)));
    const invoice = readFileSync(outPath("invoices", `${order.id}.pdf`));
    return [message.to, message.messageId, message.attachment.equals(invoice)];
  };
  const expected = (order: Order): unknown[] => [order.email, receiptMessageId(order.id), true];
  return [
    checkFolder("receipts", orders, "eml"),
    checkNone(
      `${orders.length} receipts go to the right address, with the invoice attached byte for byte`,
      differences(orders, found, expected),
    ),
  ];
}

async function proveThumbnails(orders: readonly Order[]): Promise<Check[]> {
  const drawable = orders.filter((order) => order.photo !== PILL_PHOTO);
  const thumbnails = new Map<string, Buffer>();
  for (const photo of new Set(drawable.map((order) => order.photo))) {
    thumbnails.set(photo, await makeThumbnail(readFileSync(outPath("photos", photo))));
  }
  const isRight = (order: Order): boolean | undefined =>
    thumbnails.get(order.photo)?.equals(readFileSync(outPath("thumbnails", `${order.id}.jpg`)));
  return [
    checkFolder("thumbnails", drawable, "jpg"),
    checkNone(
      `${drawable.length} thumbnails show the right photo`,
      differences(drawable, isRight, () => true),
    ),
  ];
}

function proveExport(orders: readonly Order[], day: string, books: readonly Charge[]): Check[] {
  const summary: ReturnType<typeof summariseDay> = JSON.parse(readFileSync(outPath("export", `${day}.json`), "utf8"));
  const rows = readFileSync(outPath("export", `${day}.csv`), "utf8")
    .trimEnd()
    .split("\n")
    .slice(1);
  const sumOfRows = rows.reduce((sum, row) => sum + Number(row.split(",").at(-1)), 0);
  const sumOfBooks = books.reduce((sum, charge) => sum + charge.cents, 0);
  return [
    checkEqual("the nightly export adds up the orders", summary, summariseDay(day, orders)),
    checkEqual(
      "its sum and its rows agree with the supplier's books",
      [summary.grossCents, sumOfRows],
      [sumOfBooks, sumOfBooks],
    ),
  ];
}

/** One file for each order, and no other one but what a killed process left half-written under another name. */
function checkFolder(folder: string, orders: readonly Order[], extension: string): Check {
  const files = readdirSync(outPath(folder)).filter((file) => !file.endsWith(".tmp"));
  const expected = new Set(orders.map((order) => `${order.id}.${extension}`));
  const strange = files.filter((file) => !expected.delete(file)).map((file) => `${file} belongs to no order`);
  const missing = [...expected].map((file) => `${file} is missing`);
  return checkNone(`${folder}: a file for each of ${orders.length} orders`, [...missing, ...strange]);
}
