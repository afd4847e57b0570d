import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { archiveOrders } from "../../../examples/shop/nightly.ts";
import type { Order } from "../../../examples/shop/orders.ts";
import { readOrders } from "../../../examples/shop/orders.ts";
import { chargeCard, nightlyExport } from "../../../examples/shop/tasks.ts";
import { Deployment, until } from "./deployment.ts";

const STACK = "TasklaneShop";
const WITHIN = { withinMs: 90_000 };

/** The answer of the shop's door. */
export interface Answer {
  readonly status: number;
  readonly body: { readonly id?: string; readonly state?: string; readonly error?: string };
}

/** Sends a request to the shop's door. */
export type Ask = (deployment: Deployment, method: "GET" | "POST", path: string, body?: string) => Promise<Answer>;

/** Deploys the shop by the real command, sends orders to its door, finds what its functions made, and destroys it. */
export function describeShop(emulator: string, endpointOf: () => string | undefined, ask: Ask): void {
  describe(`the shop on ${emulator}`, () => {
    const orders: readonly Order[] = readOrders(new URL("../../../examples/shop/orders.csv", import.meta.url));
    const [first, second, third] = orders;
    if (first === undefined || second === undefined || third === undefined)
      throw new Error("orders.csv has fewer than three orders");
    let deployment: Deployment;
    let bucket: string;
    let charge: string;

    beforeAll(async () => {
      deployment = new Deployment(endpointOf(), emulator);
      await deployment.bootstrap();
      await deployment.deploy();
      bucket = deployment.output(STACK, "ArtifactsBucket");
    });
    afterAll(() => deployment.close());

    test("an order sent to the door becomes a charge, an invoice and a receipt in the bucket", async () => {
      const answer = await ask(deployment, "POST", "/orders", JSON.stringify(first));
      expect(answer).toMatchObject({ status: 202, body: { task: "charge-card", duplicate: false } });
      charge = answer.body.id ?? "";
      const expected = [`charges/${first.id}.json`, `invoices/${first.id}.pdf`, `receipts/${first.id}.eml`];
      await until(
        () => deployment.keys(bucket),
        (keys) => expected.every((key) => keys.includes(key)),
        WITHIN,
      );
      const invoice = await deployment.read(bucket, `invoices/${first.id}.pdf`);
      expect(invoice.subarray(0, 5).toString()).toBe("%PDF-");
      expect((await deployment.read(bucket, `receipts/${first.id}.eml`)).toString()).toContain(
        `invoice-${first.id}.pdf`,
      );
      const state = await until(
        () => ask(deployment, "GET", `/tasks/charge-card/${charge}`),
        ({ body }) => body.state === "succeeded",
        WITHIN,
      );
      expect(state).toMatchObject({ status: 200, body: { state: "succeeded", attempts: 1, failures: 0 } });
    });

    test("the same order again is the same task", async () => {
      const again = await ask(deployment, "POST", "/orders", JSON.stringify(first));
      expect(again).toMatchObject({ status: 202, body: { duplicate: true } });
    });

    test("a wrong order is refused with the reason, and so is what is not JSON", async () => {
      const wrong = await ask(deployment, "POST", "/orders", JSON.stringify({ ...second, email: "nobody" }));
      expect(wrong).toMatchObject({ status: 400, body: { error: "INPUT_INVALID" } });
      const torn = await ask(deployment, "POST", "/orders", "{");
      expect(torn).toMatchObject({ status: 400, body: { error: "INPUT_NOT_JSON" } });
    });

    test("a day whose orders are too large for a message goes through the payload bucket", async () => {
      const input = { day: "2026-11-23", orders: archiveOrders(orders.slice(0, 60)) };
      const task = await deployment.client(STACK, "Tasks").enqueue(nightlyExport, input);
      expect((await task.result({ timeout: "90s" })).orders).toBe(60);
      expect((await deployment.read(bucket, "export/2026-11-23.csv")).toString().split("\n")).toHaveLength(62);
      const payloads = (await deployment.buckets(STACK)).find((name) => name !== bucket) ?? "";
      expect(await deployment.keys(payloads)).not.toEqual([]);
    });

    test("a mistyped card is dead, and its copy lies in the dead letter queue", async () => {
      const client = deployment.client(STACK, "Tasks");
      const task = await client.enqueue(chargeCard, { ...second, cardToken: "tok_mistyped-0" });
      await expect(task.result({ timeout: "90s" })).rejects.toMatchObject({ code: "TASK_DEAD" });
      expect(await client.task(chargeCard, task.id).get()).toMatchObject({ state: "dead", reason: "TERMINAL" });
      await until(
        () => deployment.messages(deployment.topology(STACK, "Tasks").lanes.critical?.dlq),
        (copies) => copies === 1,
        WITHIN,
      );
    });

    test("a second deploy keeps every queue, table and bucket with what is in them, and the shop goes on", async () => {
      const before = deployment.topology(STACK, "Tasks");
      const output = await deployment.deploy("test/cloud/support/next-shop-app.ts");
      expect(output).not.toContain("no changes");
      expect(deployment.topology(STACK, "Tasks")).toEqual(before);
      expect(await deployment.client(STACK, "Tasks").task(chargeCard, charge).get()).toMatchObject({
        state: "succeeded",
        attempts: 1,
      });
      expect(await ask(deployment, "POST", "/orders", JSON.stringify(third))).toMatchObject({ status: 202 });
      await until(
        () => deployment.keys(bucket),
        (keys) => keys.includes(`receipts/${third.id}.eml`),
        WITHIN,
      );
    });

    test("destroy leaves nothing behind", async () => {
      expect((await deployment.leftOvers(STACK)).length).toBeGreaterThan(15);
      await deployment.destroy();
      // AWS goes on listing a queue for a minute after its end.
      await until(
        () => deployment.leftOvers(STACK),
        (left) => left.length === 0,
        WITHIN,
      );
    });
  });
}
