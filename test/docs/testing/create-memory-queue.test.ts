import { createMemoryQueue } from "tasklane/testing";
import { expect, test } from "vitest";
import { chargeCard, handlers, sendReceipt } from "./tasks.ts";

test("the receipt goes out ten minutes after the charge", async () => {
  const queue = createMemoryQueue({ handlers });
  const charge = await queue.client.enqueue(chargeCard, { orderId: "A-1001", cents: 1250 });

  await queue.advance("5m");
  expect(await charge.result()).toEqual({ chargeId: "charge of A-1001" });
  expect(await queue.tasks(sendReceipt)).toMatchObject([{ state: "queued", attempts: 0 }]);

  await queue.advance("5m");
  expect(await queue.tasks(sendReceipt)).toMatchObject([{ state: "succeeded", attempts: 1 }]);
});
