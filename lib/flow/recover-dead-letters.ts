import type { QueueAddress, ReceivedMessage } from "../ports/queue.ts";
import { decodeBody } from "../task/envelope.ts";
import type { Lane } from "../task/lane.ts";
import { RECEIVE_LIMIT } from "../task/limits.ts";
import { isGone } from "../task/record.ts";
import { deployedLanes } from "../task/topology.ts";
import { buryMessage, buryUntaken, sendDeadLetter } from "./dead-letter.ts";
import { PATIENCE_MS } from "./recover-run.ts";
import type { Run } from "./recover-run.ts";
import type { Services } from "./services.ts";

/** Receives of one dead letter queue in one run. A queue full of our own letters is looked at in samples. */
const RECEIVES_MAX = 10;
/** Our own letters stay out of sight this long only: an operator may be looking at them. */
const LOOK_MS = 2_000;

/**
 * Looks into the dead letter queues. What SQS itself moved there, since it was received too often, becomes a dead record
 * with a letter of its own; a letter whose task has moved on is removed; a letter of a dead task stays for the operator.
 */
export async function sweepDeadLetters(services: Services, run: Run): Promise<void> {
  const errors: unknown[] = [];
  for (const lane of deployedLanes(services.backend.topology)) {
    if (services.backend.topology.lanes[lane]?.dlq === undefined) continue;
    const seen = new Set<string>();
    for (let receive = 0; receive < RECEIVES_MAX && services.clock.now() < run.until; receive++) {
      const messages = await services.backend.queue.receive(
        { lane, dead: true },
        { max: 10, waitMs: 0, visibilityMs: LOOK_MS },
      );
      const fresh = messages.filter((message) => !seen.has(message.id));
      for (const message of fresh) {
        seen.add(message.id);
        try {
          if (await sweepLetter(services, lane, message)) run.buried++;
        } catch (error) {
          // A letter whose record cannot be read stays where it is, and must not keep the others there.
          errors.push(error);
        }
      }
      if (fresh.length === 0) break;
    }
  }
  if (errors.length > 0) throw errors[0];
}

/** Answers whether a dead record was made. */
async function sweepLetter(services: Services, lane: Lane, message: ReceivedMessage): Promise<boolean> {
  const address: QueueAddress = { lane, dead: true };
  const decoded = decodeBody(message.body);
  const { ledger, queue, topology } = services.backend;
  if (decoded.kind === "undecodable" || decoded.queue !== topology.queue) {
    const reason = decoded.kind === "undecodable" ? "UNDECODABLE" : "WRONG_QUEUE";
    const text = decoded.kind === "undecodable" ? decoded.reason : `the message names queue "${decoded.queue}"`;
    const buried = await buryMessage(services, { lane, message }, reason, text);
    if (buried === "failed") return false;
    await queue.acknowledge(address, [message.receipt]);
    return true;
  }
  const [record] = await ledger.readMany([decoded.id]);
  const gone = record === undefined || isGone(record, services.clock.now());
  if (decoded.kind === "dead-letter") {
    if (gone || record.state !== "dead" || record.epoch !== decoded.epoch)
      await queue.acknowledge(address, [message.receipt]);
    return false;
  }
  // A message of an epoch that is over says nothing about the task as it is now.
  const stale = decoded.kind === "task" && record !== undefined && decoded.epoch < record.epoch;
  if (!gone && !stale && record.state === "running") {
    // Its message is lost to the lane: should this attempt crash, somebody has to look.
    const owedAt = (record.leaseUntil ?? services.clock.now()) + PATIENCE_MS;
    const [owed] = await ledger.changeMany([{ id: record.id, seen: record, patch: { set: { owedAt } } }]);
    if (owed?.kind === "written") await queue.acknowledge(address, [message.receipt]);
    return false;
  }
  // A message of a live task, thrown here by the receive limit: nothing but the limit says that the task itself is bad.
  if (gone || stale || (record.state !== "queued" && record.state !== "dead")) {
    await queue.acknowledge(address, [message.receipt]);
    return false;
  }
  const text = `its message was received ${RECEIVE_LIMIT} times and never claimed`;
  const buried =
    record.state === "dead"
      ? (await sendDeadLetter(services, record)) && "moved-on"
      : await buryUntaken(services, record, "RECEIVE_LIMIT", text);
  if (buried !== false && buried !== "failed") await queue.acknowledge(address, [message.receipt]);
  return buried === "buried";
}
