import { readFileSync } from "node:fs";
import { createMemoryQueue } from "tasklane/testing";
import { expect, test } from "vitest";
import { handlers, sendReceipt } from "./tasks.ts";

const receipt = { orderId: "A-1001", to: "ada@example.com", cents: 1250 };

test("an order gets one receipt, however often it is asked for", async () => {
  const queue = createMemoryQueue({ handlers });
  const first = await queue.client.enqueue(sendReceipt, receipt);
  const second = await queue.client.enqueue(sendReceipt, receipt);
  await queue.drain(); // runs tasks until nothing is due

  expect(second).toMatchObject({ id: first.id, duplicate: true });
  const { file } = await first.result();
  expect(readFileSync(file, "utf8")).toContain("Paid: 12.50");
  expect(await queue.tasks(sendReceipt)).toMatchObject([{ state: "succeeded", attempts: 1 }]);
});

test("the receipt is tried again while the mail service is down", async () => {
  const flaky = sendReceipt.handle((_receipt, ctx) => {
    if (ctx.attempt < 3) throw new Error("the mail service is down");
    return { file: "sent at last" };
  });
  const queue = createMemoryQueue({ handlers: [flaky] });
  const task = await queue.client.enqueue(sendReceipt, receipt);
  await queue.drain(); // moves its own clock over the waits: the test takes no time

  expect(await task.result()).toEqual({ file: "sent at last" });
  expect(await queue.tasks(sendReceipt)).toMatchObject([{ state: "succeeded", attempts: 3, failures: 2 }]);
});
