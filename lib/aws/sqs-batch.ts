import type { BatchResultErrorEntry } from "@aws-sdk/client-sqs";
import type { Clock, Random } from "../ports/clock.ts";
import { sleep } from "../ports/clock.ts";
import type { EntryOutcome } from "../ports/queue.ts";
import { TasklaneError } from "../task/errors.ts";
import { SQS_BATCH_MAX_ENTRIES, SQS_MESSAGE_MAX_BYTES } from "../task/limits.ts";
import type { AwsCall } from "./aws-errors.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { fanOut } from "./fan-out.ts";

/** An entry that the service itself failed is tried again alone so often. */
const ENTRY_RETRIES_MAX = 3;
/** The longest wait before the first retry of an entry; doubles with each further one. */
const ENTRY_RETRY_WAIT_MS = 100;

/** What SQS's batch calls answer. */
export interface BatchAnswer {
  readonly Successful?: readonly { readonly Id: string | undefined }[] | undefined;
  readonly Failed?: readonly BatchResultErrorEntry[] | undefined;
}

/** One of the batch calls: what it is called, and how it is sent for some entries. */
export interface BatchVerb<Entry> {
  readonly call: AwsCall;
  /** What an entry adds to the size of a request, where that is limited. */
  bytesOf?(entry: Entry): number;
  request(entries: readonly { readonly id: string; readonly entry: Entry }[]): Promise<BatchAnswer>;
}

/** An entry, its place in the list, and its size. */
interface Placed<Entry> {
  readonly id: string;
  readonly entry: Entry;
  readonly place: number;
  readonly bytes: number;
}

/**
 * Sends entries by as few requests as count and bytes allow, and answers in their order. Never throws.
 *
 * A batch can fail in part under HTTP 200, which the SDK takes for success: each entry that failed for a passing cause is sent
 * again alone, so that it neither drags others along nor hides behind them.
 */
export async function sendBatches<Entry>(
  verb: BatchVerb<Entry>,
  entries: readonly Entry[],
  clock: Clock,
  random: Random,
): Promise<EntryOutcome[]> {
  const outcomes = Array.from<EntryOutcome>({ length: entries.length });
  const fitting: Placed<Entry>[] = [];
  for (const [place, entry] of entries.entries()) {
    const bytes = verb.bytesOf?.(entry) ?? 0;
    if (bytes <= SQS_MESSAGE_MAX_BYTES) fitting.push({ id: String(place), entry, place, bytes });
    else outcomes[place] = { ok: false, error: tooLarge(bytes) };
  }
  await fanOut(packBatches(fitting), placeIn, async (batch) => {
    const answers = await request(verb, batch);
    const again: Placed<Entry>[] = [];
    for (const [at, placed] of batch.entries()) {
      const answer = answers[at];
      if (answer === undefined || answer === "again") again.push(placed);
      else outcomes[placed.place] = answer;
    }
    await fanOut(
      again,
      ({ id }) => id,
      async (placed) => {
        outcomes[placed.place] = await tryAlone(verb, placed, clock, random);
      },
    );
  });
  return outcomes;
}

async function tryAlone<Entry>(
  verb: BatchVerb<Entry>,
  placed: Placed<Entry>,
  clock: Clock,
  random: Random,
): Promise<EntryOutcome> {
  for (let retry = 0; retry < ENTRY_RETRIES_MAX; retry++) {
    await sleep(clock, random.next() * ENTRY_RETRY_WAIT_MS * 2 ** retry);
    const [answer] = await request(verb, [placed]);
    if (answer !== undefined && answer !== "again") return answer;
  }
  return {
    ok: false,
    error: new TasklaneError("BACKEND_UNAVAILABLE", {
      what: `${verb.call.action} on ${verb.call.resource} failed ${ENTRY_RETRIES_MAX + 1} times for one entry of a batch`,
      fix: "try again",
    }),
  };
}

/** One request. Answers for each entry its outcome, or that it is worth another try. Never throws. */
async function request<Entry>(
  verb: BatchVerb<Entry>,
  batch: readonly Placed<Entry>[],
): Promise<(EntryOutcome | "again")[]> {
  try {
    const answer = await verb.request(batch);
    const done = new Set(answer.Successful?.map(({ Id }) => Id));
    return batch.map(({ id }) => {
      if (done.has(id)) return { ok: true };
      const failed = answer.Failed?.find(({ Id }) => Id === id);
      return failed?.SenderFault === true ? { ok: false, error: refused(failed, verb.call) } : "again";
    });
  } catch (error) {
    const failure = toTasklaneError(error, verb.call);
    return batch.map(() => ({ ok: false, error: failure }));
  }
}

function packBatches<Entry>(entries: readonly Placed<Entry>[]): Placed<Entry>[][] {
  const batches: Placed<Entry>[][] = [];
  let batch: Placed<Entry>[] = [];
  let sum = 0;
  for (const placed of entries) {
    if (batch.length === SQS_BATCH_MAX_ENTRIES || (batch.length > 0 && sum + placed.bytes > SQS_MESSAGE_MAX_BYTES)) {
      batches.push(batch);
      batch = [];
      sum = 0;
    }
    batch.push(placed);
    sum += placed.bytes;
  }
  if (batch.length > 0) batches.push(batch);
  return batches;
}

function placeIn(_: unknown, place: number): string {
  return String(place);
}

function refused(failed: BatchResultErrorEntry, call: AwsCall): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: `${call.action} on ${call.resource} was refused for one entry of a batch`,
    received: `${failed.Code}: ${failed.Message ?? "no reason given"}`,
  });
}

function tooLarge(bytes: number): TasklaneError {
  return new TasklaneError("PAYLOAD_TOO_LARGE", {
    what: "The body of a message is larger than SQS takes",
    received: `${bytes} bytes`,
    expected: `at most ${SQS_MESSAGE_MAX_BYTES} bytes`,
  });
}
