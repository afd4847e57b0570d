import type { Topology } from "../task/topology.ts";
import type { Ledger } from "./ledger.ts";
import type { Payloads } from "./payloads.ts";
import type { Queue } from "./queue.ts";

/** The three stores behind a queue. */
export interface Backend {
  readonly topology: Topology;
  readonly queue: Queue;
  readonly ledger: Ledger;
  readonly payloads: Payloads;
  /** Lets go of sockets. */
  close(): void;
}
