import { createWorker } from "tasklane";
import { sent } from "./mail-handlers.ts";

await createWorker({ handlers: [sent], concurrency: 20 }).run();
