import { createClient } from "../client.ts";
import type { TasklaneClient } from "../client.ts";
import { startEmbeddedStack } from "../local/embedded-stack.ts";
import { provision } from "../provision.ts";
import type { TaskHandler } from "../task/define-task.ts";
import { checkOptions } from "../task/known-options.ts";
import type { Topology, TopologySpec } from "../task/topology.ts";
import type { WorkerOptions } from "../worker.ts";
import { createWorker } from "../worker.ts";

/** What to start. */
export interface LocalOptions {
  /** With handlers a worker runs in this process; without, start workers of your own with `env`. */
  handlers?: readonly TaskHandler[] | undefined;
  /** Lanes and limits. Default: all four lanes. */
  spec?: TopologySpec | undefined;
  /** How that worker behaves. Default: a lease of 30 s, 20 handlers at once, no log lines. */
  worker?: Omit<WorkerOptions, "handlers" | "topology" | "queue"> | undefined;
}

/** A queue on the embedded stack: real SDK clients, emulators in this process on 127.0.0.1. */
export interface LocalQueue {
  readonly client: TasklaneClient;
  readonly topology: Topology;
  /** Environment variables with which another process finds this queue. */
  readonly env: Readonly<Record<string, string>>;
  /** Stops the worker, the client and the emulators. What was in the queue is gone. */
  close(): Promise<void>;
}

/**
 * Starts a queue on the embedded stack, without Docker and without an account.
 *
 * @throws TasklaneError `LOCAL_STACK_MISSING` if fauxqs or dynalite is not installed, `OPTION_INVALID`, `DEFINITION_INVALID`
 */
export async function startLocal(options: LocalOptions = {}): Promise<LocalQueue> {
  checkOptions(options, ["handlers", "spec", "worker"], "OPTION_INVALID", "startLocal");
  const stack = await startEmbeddedStack();
  const topology = await provision(options.spec ?? {}, { endpoint: stack.endpoints, region: "us-east-1" });
  const client = createClient({ topology });
  const stop = new AbortController();
  const running =
    options.handlers === undefined
      ? undefined
      : createWorker({ log: () => undefined, ...options.worker, handlers: options.handlers, topology }).run({
          signal: stop.signal,
        });
  // Whoever closes is told; until then it must not count as unhandled.
  running?.catch(() => undefined);
  return {
    client,
    topology,
    env: {
      TASKLANE_TOPOLOGY: JSON.stringify(topology),
      AWS_REGION: "us-east-1",
      AWS_ACCESS_KEY_ID: "test",
      AWS_SECRET_ACCESS_KEY: "test",
    },
    async close() {
      stop.abort();
      try {
        await running;
      } finally {
        await client.close();
        await stack.close();
      }
    },
  };
}
