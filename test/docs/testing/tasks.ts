import { defineTask } from "tasklane";
import { z } from "zod";

const orderSchema = z.object({ orderId: z.string(), cents: z.int() });
export const chargeCard = defineTask({
  name: "charge-card",
  input: orderSchema,
  output: z.object({ chargeId: z.string() }),
  idempotencyKey: (order) => order.orderId,
});
export const sendReceipt = defineTask({ name: "send-receipt", input: orderSchema });

export const handlers = [
  chargeCard.handle(async (order, ctx) => {
    await ctx.enqueue(sendReceipt, order, { delay: "10m" });
    return { chargeId: `charge of ${order.orderId}` };
  }),
  sendReceipt.handle(async () => undefined),
];
