import { startLocal } from "tasklane/testing";
import { expect, test } from "vitest";
import { chargeCard, handlers } from "./tasks.ts";

test("a charge goes through the real clients", async () => {
  const local = await startLocal({ handlers });
  try {
    const task = await local.client.enqueue(chargeCard, { orderId: "A-1001", cents: 1250 });
    expect(await task.result({ timeout: "20s" })).toEqual({ chargeId: "charge of A-1001" });
  } finally {
    await local.close();
  }
});
