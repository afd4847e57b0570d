import { readFileSync } from "node:fs";
import { orderTotals } from "./orders.ts";
import type { Order } from "./orders.ts";
import { receiptText } from "./receipt.ts";

/** An order with everything the customer read, the terms of that day included. */
export type ArchivedOrder = Order & { readonly fullText: string };

/** What the nightly export says about a day. */
export interface DaySummary {
  readonly day: string;
  readonly orders: number;
  readonly units: number;
  readonly netCents: number;
  readonly vatCents: number;
  readonly grossCents: number;
  /** Net sum by country of delivery. */
  readonly byCountry: Readonly<Record<string, number>>;
}

/** Puts the receipt's text and the terms of sale to each order, as the law on bookkeeping asks. */
export function archiveOrders(orders: readonly Order[]): ArchivedOrder[] {
  const terms = readFileSync(new URL("terms.txt", import.meta.url), "utf8");
  return orders.map((order) => ({ ...order, fullText: `${receiptText(order)}\n${terms}` }));
}

/** Adds up the orders of a day. */
export function summariseDay(day: string, orders: readonly Order[]): DaySummary {
  const sums = { units: 0, netCents: 0, vatCents: 0, grossCents: 0 };
  const byCountry: Record<string, number> = {};
  for (const order of orders) {
    const totals = orderTotals(order);
    sums.units += order.lines.reduce((units, line) => units + line.quantity, 0);
    sums.netCents += totals.netCents;
    sums.vatCents += totals.vatCents;
    sums.grossCents += totals.grossCents;
    byCountry[order.country] = (byCountry[order.country] ?? 0) + totals.netCents;
  }
  return { day, orders: orders.length, ...sums, byCountry };
}

/** The orders of a day as CSV for the bookkeeper: one line each, sums in cents. */
export function dayAsCsv(orders: readonly Order[]): string {
  const rows = orders.map((order) => {
    const { netCents, vatPercent, vatCents, grossCents } = orderTotals(order);
    return [order.id, order.placedAt, order.country, netCents, vatPercent, vatCents, grossCents].join(",");
  });
  return ["order,placed_at,country,net_cents,vat_percent,vat_cents,gross_cents", ...rows, ""].join("\n");
}
