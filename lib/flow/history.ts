import { CLOCK_SKEW_MAX_MS, HISTORY_MAX_ATTEMPTS } from "../task/limits.ts";
import type { TaskRecord } from "../task/record.ts";
import type { AttemptEntry } from "../task/task-ref.ts";
import type { Services } from "./services.ts";
import { markOf } from "./services.ts";

const PREFIX = "f#";
const KEPT_MS = 400 * 86_400_000;

/**
 * Notes an attempt that did not succeed. The last ten are kept in a ring of side items, written on failure paths only. The
 * fence orders them, so that a worker which lost its lease cannot write over a later attempt.
 */
export async function noteAttempt(services: Services, record: TaskRecord, entry: AttemptEntry): Promise<void> {
  const slot = (record.fence - record.createdAt) % HISTORY_MAX_ATTEMPTS;
  try {
    await services.backend.ledger.putSide({
      id: record.id,
      key: `${PREFIX}${slot}`,
      value: JSON.stringify(entry),
      expiresAt: services.clock.now() + KEPT_MS,
      order: record.fence,
    });
  } catch (error) {
    // The history is for people; the outcome itself must not fail for it.
    services.emit({ type: "history-lost", taskId: record.id, error: String(error) });
  }
}

/** Tells of the attempt before a takeover, which ended without a word. @param record as the takeover left it */
export async function noteCrash(services: Services, record: TaskRecord): Promise<void> {
  services.emit({ type: "crash-detected", crashes: record.crashes, ...markOf(record) });
  await noteAttempt(
    services,
    { ...record, fence: record.fence - 1 },
    {
      attempt: record.attempts - 1,
      at: services.clock.now(),
      outcome: "crash",
      code: "CRASHED",
      message: "the process ended, or stalled longer than its lease",
    },
  );
}

/** The attempts that were noted, oldest first. @throws TasklaneError */
export async function readHistory(
  services: Services,
  { id, createdAt }: Pick<TaskRecord, "id" | "createdAt">,
): Promise<AttemptEntry[]> {
  const items = await services.backend.ledger.readSides(id, PREFIX);
  // A key that was free again names another task: what the one before it did is not its history.
  const from = createdAt - CLOCK_SKEW_MAX_MS;
  return items
    .flatMap((item) => readEntry(item.value))
    .filter(({ at }) => at >= from)
    .sort((one, other) => one.at - other.at);
}

function readEntry(json: string): AttemptEntry[] {
  try {
    const entry: AttemptEntry = JSON.parse(json);
    return [entry];
  } catch {
    return [];
  }
}
