import { createClient } from "tasklane";
import { sendReceipt } from "./tasks.ts";

const client = createClient(); // finds its queue in TASKLANE_TOPOLOGY

const task = await client.enqueue(sendReceipt, { orderId: "A-1001", to: "ada@example.com", cents: 1250 });
console.log(task.duplicate ? "was there already:" : "accepted:", task.id);

const { file } = await task.result({ timeout: "30s" }); // most apps do not wait: the task goes on without them
console.log("sent:", file);

await client.close();
