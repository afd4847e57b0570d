import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { decideSettlement } from "../../lib/flow/settle.ts";
import type { Settlement } from "../../lib/flow/settle.ts";
import type { TaskOptions } from "../../lib/task/define-task.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import type { ErrorCode } from "../../lib/task/errors.ts";
import type { Failure, Outcome } from "../../lib/task/outcome.ts";
import type { TaskRecord } from "../../lib/task/record.ts";
import { applyPatch } from "../../lib/task/record.ts";
import { canMove, isFinal } from "../../lib/task/states.ts";
import { aRecord } from "../support/sample-record.ts";

const NOW = 1_767_225_600_000;
const DAY_MS = 86_400_000;

const input = z.object({});
type Policies = Omit<TaskOptions<typeof input>, "name" | "input">;

function running(fields: Partial<TaskRecord> = {}): TaskRecord {
  return aRecord({
    state: "running",
    createdAt: NOW - 1_000,
    dueAt: NOW - 1_000,
    notBefore: NOW - 1_000,
    fence: NOW,
    attempts: 1,
    leaseUntil: NOW + 30_000,
    retentionMs: 14 * DAY_MS,
    ...fields,
  });
}

function failed(code: Failure["code"] = "ERROR", message = "no luck"): { failure: Failure } {
  return { failure: { code, message } };
}

/** What an outcome does to a record, and the settlement itself. */
function settle(
  record: TaskRecord,
  outcome: Outcome,
  policies: Policies = {},
  random = 0.5,
): Settlement & { after: TaskRecord } {
  const task = defineTask({ name: "sample", input, ...policies });
  const settlement = decideSettlement(record, outcome, task, NOW, random);
  return { ...settlement, after: applyPatch(record, settlement.patch) };
}

describe("a settlement", () => {
  test("of a success ends the task and its lease, and acknowledges", () => {
    const { after, next } = settle(running({ owedAt: NOW }), { kind: "succeeded", output: 1 });
    expect(after).toMatchObject({
      state: "succeeded",
      attempts: 1,
      failures: 0,
      finishedAt: NOW,
      expiresAt: NOW + 14 * DAY_MS,
    });
    expect(after).not.toHaveProperty("leaseUntil");
    expect(after).not.toHaveProperty("owedAt");
    expect(next).toBe("acknowledge");
  });

  test("sets an expiry only in a final state, and never before a message may still arrive", () => {
    const record = running({ retentionMs: 60_000 });
    const expiryOf = (outcome: Outcome): number | undefined => settle(record, outcome).after.expiresAt;
    expect(expiryOf({ kind: "succeeded", output: undefined })).toBe(NOW + 5 * DAY_MS);
    expect(expiryOf({ kind: "cancelled", ...failed() })).toBe(NOW + 5 * DAY_MS);
    expect(expiryOf({ kind: "expired", ...failed() })).toBe(NOW + 5 * DAY_MS);
    expect(expiryOf({ kind: "dead", ...failed() })).toBe(NOW + 19 * DAY_MS);
    expect(expiryOf({ kind: "retry", ...failed() })).toBeUndefined();
    expect(expiryOf({ kind: "snooze", delayMs: 1, ...failed() })).toBeUndefined();
  });

  test("of a failure counts it and waits by full jitter, bound 1, 4, 16, 64, 256 s", () => {
    const bounds = [1_000, 4_000, 16_000, 64_000, 256_000];
    for (const [failures, bound] of bounds.entries()) {
      const { after, delayMs } = settle(running({ failures }), { kind: "retry", ...failed() }, {}, 0.5);
      expect(after).toMatchObject({ state: "queued", failures: failures + 1, notBefore: NOW + bound / 2 });
      expect(delayMs).toBe(bound / 2);
    }
  });

  test("of the failure after the last retry ends the task, with what was thrown", () => {
    const { after, next } = settle(running({ failures: 2 }), { kind: "retry", ...failed() }, { maxRetries: 2 });
    expect(after).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", message: "no luck", failures: 3 });
    expect(next).toBe("bury");
  });

  test("of a failure that asks for a time waits that long, whatever the backoff says", () => {
    const { after } = settle(running(), { kind: "retry", delayMs: 30_000, ...failed("RETRY_AFTER") });
    expect(after).toMatchObject({ state: "queued", failures: 1, notBefore: NOW + 30_000 });
  });

  test("of a wait beyond what SQS can delay leaves the message to the scheduler", () => {
    const near = settle(running(), { kind: "snooze", delayMs: 900_000, ...failed("SNOOZE") });
    expect(near).toMatchObject({ next: "put-back", after: { state: "queued" } });
    expect(near.after).not.toHaveProperty("owedAt");
    const far = settle(running(), { kind: "snooze", delayMs: 900_001, ...failed("SNOOZE") });
    expect(far).toMatchObject({ next: "acknowledge", after: { state: "queued", owedAt: NOW + 900_001 - 300_000 } });
  });

  test("counts failures, snoozes and interruptions apart, and a deferral not at all", () => {
    const counts = (outcome: Outcome): Partial<TaskRecord> => {
      const { attempts, failures, crashes, snoozes, interruptions } = settle(running(), outcome).after;
      return { attempts, failures, crashes, snoozes, interruptions };
    };
    const none = { attempts: 1, failures: 0, crashes: 0, snoozes: 0, interruptions: 0 };
    expect(counts({ kind: "retry", ...failed() })).toEqual({ ...none, failures: 1 });
    expect(counts({ kind: "snooze", delayMs: 1_000, ...failed() })).toEqual({ ...none, snoozes: 1 });
    expect(counts({ kind: "interrupted", ...failed() })).toEqual({ ...none, interruptions: 1 });
    expect(counts({ kind: "deferred", delayMs: 1_000, ...failed() })).toEqual({ ...none, attempts: 0 });
    expect(counts({ kind: "expired", ...failed() })).toEqual({ ...none, attempts: 0 });
  });

  test("of an interruption puts the task back at once, even after its lifetime", () => {
    const { after, next } = settle(
      running({ dueAt: NOW - 20 * DAY_MS }),
      { kind: "interrupted", ...failed("SHUTDOWN") },
      { maxLifetime: "14d" },
    );
    expect(after).toMatchObject({ state: "queued", notBefore: NOW });
    expect(next).toBe("put-back");
  });

  test.each(["retry", "snooze", "deferred"] as const)(
    "of a %s whose next start would come after the lifetime ends the task",
    (kind) => {
      const record = running({ dueAt: NOW });
      const after = (delayMs: number): TaskRecord =>
        settle(record, { kind, delayMs, ...failed() }, { maxLifetime: "1h" }).after;
      expect(after(3_600_001)).toMatchObject({ state: "dead", reason: "LIFETIME_EXCEEDED" });
      expect(after(3_600_000).state).toBe("queued");
    },
  );

  test("F48 of a failed or snoozed attempt whose cancellation was asked for cancels, and of a success still succeeds", () => {
    const asked = running({ cancelRequested: "not needed" });
    expect(settle(asked, { kind: "retry", ...failed() }).after).toMatchObject({
      state: "cancelled",
      reason: "CANCELLED",
    });
    expect(settle(asked, { kind: "snooze", delayMs: 1, ...failed() }).after.state).toBe("cancelled");
    const succeeded = settle(asked, { kind: "succeeded", output: undefined }).after;
    expect(succeeded.state).toBe("succeeded");
    expect(succeeded).not.toHaveProperty("cancelRequested");
  });

  test("F48 of an interruption keeps the wish to cancel for the next worker", () => {
    const { after } = settle(running({ cancelRequested: "not needed" }), {
      kind: "interrupted",
      ...failed("SHUTDOWN"),
    });
    expect(after).toMatchObject({ state: "queued", cancelRequested: "not needed" });
  });

  test("names the reason of a death: the handler's own, or what it died of", () => {
    const reasonOf = (code: Failure["code"]): ErrorCode | undefined =>
      settle(running(), { kind: "dead", ...failed(code) }).after.reason;
    expect(reasonOf("TERMINAL")).toBe("TERMINAL");
    expect(reasonOf("ERROR")).toBe("TERMINAL");
    expect(reasonOf("CRASHED")).toBe("CRASHED");
    expect(reasonOf("PAYLOAD_MISSING")).toBe("PAYLOAD_MISSING");
  });

  test("notes a crash as a crash, and a success not at all", () => {
    expect(settle(running(), { kind: "dead", ...failed("CRASHED") }).note).toBe("crash");
    expect(settle(running(), { kind: "dead", ...failed() }).note).toBe("dead");
    expect(settle(running(), { kind: "retry", ...failed() }).note).toBe("retry");
    expect(settle(running(), { kind: "succeeded", output: undefined }).note).toBeUndefined();
    expect(settle(running(), { kind: "deferred", delayMs: 1, ...failed() }).note).toBeUndefined();
  });

  test("shortens the reason in the record, never in the middle of a character", () => {
    const { after } = settle(running(), { kind: "dead", ...failed("ERROR", "😀".repeat(200)) });
    expect(after.message?.length).toBeLessThanOrEqual(100);
    expect(after.message?.isWellFormed()).toBe(true);
  });

  test("is always a legal move, ends the lease, and moves no fence", () => {
    const failure = fc.constant(failed().failure);
    const delayMs = fc.integer({ min: 0, max: 40 * DAY_MS });
    const outcome = fc.oneof(
      fc.record({ kind: fc.constant("succeeded" as const), output: fc.anything() }),
      fc.record({ kind: fc.constant("retry" as const), failure, delayMs: fc.option(delayMs, { nil: undefined }) }),
      fc.record({ kind: fc.constantFrom("snooze" as const, "deferred" as const), failure, delayMs }),
      fc.record({
        kind: fc.constantFrom("cancelled" as const, "dead" as const, "interrupted" as const, "expired" as const),
        failure,
      }),
    );
    const count = fc.integer({ min: 0, max: 12 });
    const state = fc.record({ failures: count, crashes: count, snoozes: count, interruptions: count });
    const wish = fc.constantFrom(undefined, "not needed");
    fc.assert(
      fc.property(
        outcome,
        state,
        wish,
        fc.double({ min: 0, max: 1, maxExcluded: true, noNaN: true }),
        (given, counts, cancelRequested, random) => {
          const record = running({ ...counts, cancelRequested, attempts: 20 });
          const { after, state: settled, next } = settle(record, given, {}, random);
          expect(after.state).toBe(settled);
          expect(canMove("running", settled)).toBe(true);
          expect(after.fence).toBe(record.fence);
          expect(after.leaseUntil).toBeUndefined();
          expect(isFinal(settled)).toBe(after.expiresAt !== undefined);
          expect(isFinal(settled)).toBe(after.finishedAt !== undefined);
          // Somebody wakes what is not over, and nobody what is.
          expect(next === "put-back" || after.owedAt !== undefined).toBe(!isFinal(settled));
          expect(next === "bury").toBe(settled === "dead");
          expect(after.failures + after.snoozes + after.interruptions + after.crashes).toBeLessThanOrEqual(
            record.failures + record.snoozes + record.interruptions + record.crashes + 1,
          );
        },
      ),
    );
  });
});
