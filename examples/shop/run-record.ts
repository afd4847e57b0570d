import type { TaskDetails, TasklaneClient, Topology } from "../../lib/index.ts";
import { readJournal } from "./journals.ts";
import type { EnqueueEntry, EventEntry, StartEntry } from "./journals.ts";
import { storedPayloadSizes } from "./plain-clients.ts";
import type { SupplierStats } from "./supplier.ts";
import type { WorkerExit } from "./supervisor.ts";
import { makeInvoice } from "./tasks.ts";

/** Everything that is known of a run when it is over, each from its own source. */
export interface RunRecord {
  /** What handlers and shop wrote. */
  readonly starts: readonly StartEntry[];
  readonly enqueues: readonly EnqueueEntry[];
  /** What the workers told. */
  readonly events: readonly EventEntry[];
  /** What the ledger says of each task that was enqueued. */
  readonly ledger: ReadonlyMap<string, TaskDetails>;
  /** All that the ledger lists as dead, also what nobody enqueued. */
  readonly dead: readonly TaskDetails[];
  /** Sizes of the stored payloads of the nightly export. */
  readonly storedPayloads: readonly number[];
  /** How worker processes ended. */
  readonly exits: readonly WorkerExit[];
  readonly supplier: SupplierStats;
}

/** How many tasks are asked for at once. */
const READ_AT_ONCE = 20;

/** Collects what is known of a run. */
export async function recordRun(sources: {
  client: TasklaneClient;
  topology: Topology;
  supplierUrl: string;
  exits: readonly WorkerExit[];
  exportTaskId: string;
}): Promise<RunRecord> {
  const { client, topology, supplierUrl, exits, exportTaskId } = sources;
  const enqueues = readJournal("enqueues");
  const stats = await fetch(`${supplierUrl}/stats`);
  return {
    starts: readJournal("starts"),
    enqueues,
    events: readJournal("events"),
    ledger: await readLedger(client, [...new Set(enqueues.map((entry) => entry.taskId))]),
    dead: await listDead(client),
    storedPayloads: await storedPayloadSizes(topology, exportTaskId),
    exits,
    supplier: (await stats.json()) as SupplierStats,
  };
}

/** Reads tasks by their ids; any definition will do, since the ids are known. */
export async function readLedger(client: TasklaneClient, ids: readonly string[]): Promise<Map<string, TaskDetails>> {
  const found = new Map<string, TaskDetails>();
  for (let first = 0; first < ids.length; first += READ_AT_ONCE) {
    const batch = ids.slice(first, first + READ_AT_ONCE).map((id) => client.task(makeInvoice, id).get());
    for (const details of await Promise.all(batch)) found.set(details.id, details);
  }
  return found;
}

/** Everything that is dead, whoever enqueued it. */
export async function listDead(client: TasklaneClient): Promise<TaskDetails[]> {
  const found: TaskDetails[] = [];
  for await (const record of client.list({ state: "dead" })) found.push(record);
  return found;
}
