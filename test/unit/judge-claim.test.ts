import { describe, expect, test } from "vitest";
import { groupByTask, judgeClaim } from "../../lib/flow/claim.ts";
import type { Delivery } from "../../lib/flow/claim.ts";
import type { WriteOutcome } from "../../lib/ports/ledger.ts";
import type { Envelope } from "../../lib/task/envelope.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import { aRecord } from "../support/sample-record.ts";

const NOW = 1_767_225_600_000;
const SKEW_MS = 5_000;
const OURS = "message-of-this-claim";
const COPY = "message-in-the-same-batch";

function refused(fields: Partial<TaskRecord>): WriteOutcome {
  return { kind: "refused", record: aRecord(fields) };
}

function judge(outcome: WriteOutcome): ReturnType<typeof judgeClaim> {
  return judgeClaim(outcome, [OURS, COPY], NOW, SKEW_MS);
}

describe("the answer to a claim", () => {
  test("that was written means start", () => {
    const record = aRecord({ state: "running" });
    expect(judge({ kind: "written", record })).toEqual({ kind: "start", record });
  });

  test("that never came means that the message is left", () => {
    const error = new TasklaneError("BACKEND_UNAVAILABLE", { what: "No answer" });
    expect(judge({ kind: "failed", error })).toEqual({ kind: "leave", error });
  });

  test("F22 without a record, or with one whose time is over, drops the message and creates nothing", () => {
    expect(judge({ kind: "refused", record: undefined })).toEqual({ kind: "drop", because: "no-record" });
    expect(judge(refused({ state: "succeeded", expiresAt: NOW }))).toEqual({ kind: "drop", because: "no-record" });
    expect(judge(refused({ state: "dead", expiresAt: NOW - 1 }))).toEqual({ kind: "drop", because: "no-record" });
  });

  test.each(["succeeded", "cancelled", "expired"] as const)("F02 of a task that is %s drops the message", (state) => {
    expect(judge(refused({ state, expiresAt: NOW + 1 }))).toEqual({ kind: "drop", because: "final" });
  });

  test("of a dead task sends its letter again first", () => {
    expect(judge(refused({ state: "dead", expiresAt: NOW + 1 }))).toMatchObject({ kind: "send-letter" });
  });

  test("of a queued task is early before its time, and again at it", () => {
    expect(judge(refused({ state: "queued", notBefore: NOW + 1 }))).toMatchObject({ kind: "early" });
    expect(judge(refused({ state: "queued", notBefore: NOW }))).toMatchObject({ kind: "again" });
  });

  test("F01 of a running task hides the very message for the rest of the lease, and drops any other", () => {
    const running = { state: "running", leaseUntil: NOW + 10_000 } as const;
    const forMs = 10_000 + SKEW_MS + 1_000;
    for (const messageId of [OURS, COPY])
      expect(judge(refused({ ...running, messageId }))).toEqual({ kind: "hide", messageId, forMs });
    expect(judge(refused({ ...running, messageId: "another" }))).toEqual({ kind: "drop", because: "running" });
  });

  test("F03 of a running task hides a message that was put back, since the one it came from may be gone", () => {
    const running = refused({ state: "running", leaseUntil: NOW + 10_000, messageId: "another" });
    const forMs = 10_000 + SKEW_MS + 1_000;
    expect(judgeClaim(running, [OURS, COPY], NOW, SKEW_MS, OURS)).toEqual({ kind: "hide", messageId: OURS, forMs });
  });

  test("F27 finds a suspect only once the lease is over by more than clocks may differ", () => {
    const running = { state: "running", messageId: OURS } as const;
    expect(judge(refused({ ...running, leaseUntil: NOW - SKEW_MS }))).toMatchObject({ kind: "hide" });
    expect(judge(refused({ ...running, leaseUntil: NOW - SKEW_MS - 1 }))).toMatchObject({ kind: "suspect" });
    expect(judge(refused({ ...running, messageId: "another", leaseUntil: NOW - SKEW_MS - 1 }))).toMatchObject({
      kind: "suspect",
    });
  });
});

describe("a batch", () => {
  test("is grouped by task, in the order of arrival", () => {
    const of = (id: string, message: string): { delivery: Delivery; envelope: Envelope } => ({
      delivery: {
        lane: "normal",
        message: { id: message, receipt: message, body: "", receiveCount: 1, sentAt: NOW },
      },
      envelope: { kind: "task", queue: "q", id, task: "t", epoch: 1, dueAt: NOW, deferrals: 0, passedOver: false },
    });
    const groups = groupByTask([of("b", "m1"), of("a", "m2"), of("b", "m3"), of("b", "m4")]);
    expect(groups.map(({ envelope, delivery, copies }) => [envelope.id, delivery.message.id, copies.length])).toEqual([
      ["b", "m1", 2],
      ["a", "m2", 0],
    ]);
  });
});
