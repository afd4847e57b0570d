export type { MemoryQueueOptions, MemoryTaskQueue } from "./create-memory-queue.ts";
export { createMemoryQueue } from "./create-memory-queue.ts";
export type { HandlerContext } from "./run-handler.ts";
export { runHandler } from "./run-handler.ts";
export type { LocalOptions, LocalQueue } from "./start-local.ts";
export { startLocal } from "./start-local.ts";
