import type { EmulatorName } from "./versions.ts";

/** An emulator that answers, on 127.0.0.1. */
export interface Emulator {
  readonly name: EmulatorName;
  readonly endpoint: string;
  readonly version: string;
  /** Path of its log, or what stands for one. */
  readonly log: string;
  /** Ends it with everything it started. One that was there before stays. */
  stop(): Promise<void>;
}

/** How to start one. */
export interface StartOptions {
  /** Default: a free one. */
  readonly port?: number | undefined;
}
