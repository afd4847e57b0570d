import { createWorker } from "tasklane";
import { handlers } from "./tasks.ts";

// Finds its queue in TASKLANE_TOPOLOGY. Works until SIGTERM or Ctrl-C, then ends what it has begun.
await createWorker({ handlers }).run();
