import { mkdir, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { defineTask } from "tasklane";
import { z } from "zod";

/** The contract: what a task is called, takes and gives, and how hard to try. */
export const sendReceipt = defineTask({
  name: "send-receipt",
  input: z.object({ orderId: z.string(), to: z.email(), cents: z.int().positive() }),
  output: z.object({ file: z.string() }),
  idempotencyKey: (receipt) => receipt.orderId, // one receipt an order, however often it is asked for
  maxRetries: 5,
  timeout: "30s",
});

/** The work. It may start more than once for one task, so it is written such that this does no harm. */
const sendReceiptHandler = sendReceipt.handle(async (receipt, ctx) => {
  // Stands for a call to a mail service. A real one gets ctx.idempotencyKey in a header: the task's own key, the same on
  // every attempt, and not the key chosen above.
  const file = join(tmpdir(), "outbox", `${receipt.orderId}.eml`);
  const paid = (receipt.cents / 100).toFixed(2);
  await mkdir(join(tmpdir(), "outbox"), { recursive: true });
  await writeFile(file, `To: ${receipt.to}\r\nSubject: Your order ${receipt.orderId}\r\n\r\nPaid: ${paid}\r\n`, {
    signal: ctx.signal,
  });
  return { file };
});

export const handlers = [sendReceiptHandler];
