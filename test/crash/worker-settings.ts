import type { Duration, Lane } from "../../lib/index.ts";

/** The remote call of a worker process at which it is killed. */
export interface KillPoint {
  /** From 1, in the order of the calls. */
  readonly call: number;
  readonly when: "before" | "after";
}

/** How a worker process of the crash tests behaves. */
export interface WorkerSettings {
  readonly effectsPath: string;
  readonly reportsPath: string;
  /** Where the gates are. */
  readonly dir: string;
  readonly lease: Duration;
  readonly clockSkew: Duration;
  readonly concurrency: number;
  readonly lanes?: readonly Lane[] | undefined;
  readonly shutdownGrace?: Duration | undefined;
  readonly killAt?: KillPoint | undefined;
}
