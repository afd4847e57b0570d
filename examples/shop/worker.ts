/** A worker process. It finds queues, table and bucket in `TASKLANE_TOPOLOGY`, and stops on SIGTERM. */
import { createWorker } from "../../lib/index.ts";
import { handlers } from "./handlers.ts";
import { journal } from "./journals.ts";

const worker = createWorker({
  handlers,
  concurrency: 16,
  // Short, so that the demo soon shows what becomes of the work of a killed process; the default of 30 s costs fewer renewals.
  lease: "3s",
  // All processes of the demo read the same machine's clock; the default of 5 s allows for several machines.
  clockSkew: "1s",
  onEvent: (event) => journal("events", { ...event, pid: process.pid }),
});

// The process that held the embedded stack is gone, so nothing is left that could be finished.
process.once("disconnect", () => process.exit(1));
process.channel?.unref();

await worker.run();
