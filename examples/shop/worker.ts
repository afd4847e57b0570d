/** A worker process. It finds queues, table and bucket in `TASKLANE_TOPOLOGY`, and stops on SIGTERM. */
import { createWorker } from "../../lib/index.ts";
import { handlers } from "./handlers.ts";
import { journal } from "./journals.ts";

const worker = createWorker({
  handlers,
  concurrency: 16,
  // Short, so that the demo shows soon what becomes of the work of a killed process. The default of 30 s costs fewer renewals.
  lease: "3s",
  onEvent: (event) => journal("events", { ...event, pid: process.pid }),
});

// Without its supervisor a worker has nobody to stop it.
process.once("disconnect", () => process.kill(process.pid, "SIGTERM"));
process.channel?.unref();

await worker.run();
