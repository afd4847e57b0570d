import { readFileSync } from "node:fs";
import { parse } from "csv-parse/sync";
import { z } from "zod";
import { PRODUCTS, VAT_PERCENT } from "./catalogue.ts";

/** One order as the shop took it. */
export const orderSchema = z.object({
  id: z.string().regex(/^A-\d{4}$/),
  placedAt: z.iso.datetime(),
  name: z.string().min(1),
  email: z.email(),
  street: z.string(),
  postcode: z.string(),
  city: z.string(),
  country: z.string().refine((code) => code in VAT_PERCENT, "a country the shop delivers to"),
  lines: z
    .array(
      z.object({
        sku: z.string().refine((sku) => sku in PRODUCTS, "a product of the catalogue"),
        quantity: z.int().positive(),
        unitCents: z.int().positive(),
      }),
    )
    .min(1),
  note: z.string(),
  cardToken: z.string(),
  photo: z.string(),
});

export type Order = z.infer<typeof orderSchema>;
export type OrderLine = Order["lines"][number];

/** Reads the orders of a CSV file and checks each of them. */
export function readOrders(file: URL): Order[] {
  const rows: Record<string, string>[] = parse(readFileSync(file), { columns: true, bom: true });
  return rows.map(({ items = "", ...columns }) => orderSchema.parse({ ...columns, lines: readLines(items) }));
}

/** `MUG:2:1450 BOOK:1:3895` is two mugs at 14.50 and a book at 38.95. */
function readLines(items: string): unknown[] {
  return items.split(" ").map((item) => {
    const [sku, quantity, unitCents] = item.split(":");
    return { sku, quantity: Number(quantity), unitCents: Number(unitCents) };
  });
}

export interface Totals {
  readonly netCents: number;
  readonly vatPercent: number;
  readonly vatCents: number;
  readonly grossCents: number;
}

/** What an order costs; the tax is rounded once, on the sum. */
export function orderTotals(order: Pick<Order, "lines" | "country">): Totals {
  const netCents = order.lines.reduce((sum, line) => sum + line.quantity * line.unitCents, 0);
  const vatPercent = VAT_PERCENT[order.country] ?? 0;
  const vatCents = Math.round((netCents * vatPercent) / 100);
  return { netCents, vatPercent, vatCents, grossCents: netCents + vatCents };
}

/** `123456` becomes `EUR 1,234.56`. */
export function formatMoney(cents: number): string {
  return `EUR ${(cents / 100).toLocaleString("en-IE", { minimumFractionDigits: 2, maximumFractionDigits: 2 })}`;
}
