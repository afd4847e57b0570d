import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, test } from "vitest";
import type { Claim, HeldWrite, IndexQuery, Ledger, SeenWrite, WriteOutcome } from "../../lib/ports/ledger.ts";
import { TasklaneError } from "../../lib/task/errors.ts";
import { CREATION_SHARDS, SPARSE_SHARDS } from "../../lib/task/limits.ts";
import { shardOf } from "../../lib/task/record-codec.ts";
import type { RecordPatch, TaskRecord } from "../../lib/task/record.ts";
import { FINAL_STATES } from "../../lib/task/states.ts";
import type { ContractBackend } from "../support/contract-backends.ts";
import type { ContractStack } from "../support/contract-stack.ts";
import { eventually } from "../support/contract-stack.ts";
import { describeCounters } from "./counters.contract.ts";

const DAY_MS = 86_400_000;
const LEASE_MS = 30_000;
const TEXT = "Grüße, 世界 😀 \u0000\ufffe";

/** What every ledger adapter must do. */
export function describeLedgerContract({ name, open }: ContractBackend): void {
  describe(`the ledger contract on ${name}`, () => {
    let stack: ContractStack;
    let ledger: Ledger;
    let now = Date.UTC(2040, 0, 1);
    let made = 0;

    beforeAll(async () => {
      stack = await open({ lanes: ["normal"] });
      ledger = stack.backend.ledger;
    });
    afterAll(() => stack.close());
    // Each test has days of its own, so that no test meets another's entries in an index.
    beforeEach(() => {
      now += 100 * DAY_MS;
    });

    const newId = (): string => `contract-task-${String(++made).padStart(6, "0")}`;

    function recordOf(fields: Partial<TaskRecord> = {}): TaskRecord {
      const id = fields.id ?? newId();
      return {
        id,
        task: "send-receipt",
        lane: "normal",
        state: "queued",
        epoch: 1,
        fence: now,
        owner: `enqueue-${id}`,
        createdAt: now,
        dueAt: now,
        notBefore: now,
        attempts: 0,
        failures: 0,
        crashes: 0,
        snoozes: 0,
        interruptions: 0,
        resends: 0,
        retentionMs: 14 * DAY_MS,
        input: { at: "record", json: '{"order":1}' },
        inputHash: "hash-of-input",
        ...fields,
      };
    }

    async function put(fields: Partial<TaskRecord> = {}): Promise<TaskRecord> {
      const record = recordOf(fields);
      expect(await ledger.recordMany([record], now)).toEqual([{ kind: "created" }]);
      return record;
    }

    async function read(id: string): Promise<TaskRecord | undefined> {
      const [record] = await ledger.readMany([id]);
      return record;
    }

    function claimOf(id: string, fields: Partial<Claim> = {}): Claim {
      return { id, owner: `claim-${++made}`, messageId: "message-1", now, leaseUntil: now + LEASE_MS, ...fields };
    }

    async function claim(given: Claim): Promise<WriteOutcome> {
      return one(await ledger.claimMany([given]));
    }

    async function putRunning(fields: Partial<TaskRecord> = {}): Promise<TaskRecord> {
      const { id } = await put(fields);
      return writtenIn(await claim(claimOf(id)));
    }

    function heldBy(record: TaskRecord, patch: RecordPatch): HeldWrite {
      return { id: record.id, fence: record.fence, owner: record.owner, patch };
    }

    async function settle(write: HeldWrite): Promise<WriteOutcome> {
      return one(await ledger.settleMany([write]));
    }

    async function change(record: TaskRecord, patch: RecordPatch): Promise<WriteOutcome> {
      const { id, state, fence, epoch } = record;
      return one(await ledger.changeMany([{ id, seen: { state, fence, epoch }, patch }]));
    }

    const succeed = (output: string): RecordPatch => ({
      set: {
        state: "succeeded",
        output: { at: "record", json: output },
        finishedAt: now,
        expiresAt: now + 14 * DAY_MS,
      },
      remove: ["owedAt", "leaseUntil"],
    });

    /** What a write was told, and what is stored after it. */
    async function aftermath(outcome: WriteOutcome, { id }: TaskRecord): Promise<unknown> {
      return { outcome, stored: await read(id) };
    }

    /** The aftermath of a write that was refused with the record as it is, and changed nothing. */
    const refusedAs = (stored: TaskRecord): unknown => ({ outcome: { kind: "refused", record: stored }, stored });

    describe("recordMany", () => {
      test("keeps every field", async () => {
        const full = recordOf({
          state: "running",
          lane: "critical",
          epoch: 3,
          messageId: "message-7",
          startBy: now + 1,
          attempts: 1,
          failures: 2,
          crashes: 3,
          snoozes: 4,
          interruptions: 5,
          resends: 6,
          startedAt: now + 2,
          leaseUntil: now + 3,
          cancelRequested: TEXT,
          owedAt: now + 4,
          slotUs: (now + 5) * 1_000 + 1,
          input: { at: "s3", hash: "abc_-9", bytes: 1_234_567, codec: "zstd", life: "d100", storedAt: now },
          output: { at: "side", hash: "xyz", bytes: 5_000, codec: "json", life: "d30", storedAt: now },
          meta: JSON.stringify({ text: TEXT }),
          metaAside: true,
          traceparent: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
          reason: "RETRIES_EXHAUSTED",
          message: TEXT,
          progress: '{"done":0.5}',
          finishedAt: now + 6,
          expiresAt: now + 7_000,
        });
        expect(await ledger.recordMany([full], now)).toEqual([{ kind: "created" }]);
        expect(await read(full.id)).toEqual(full);
      });

      test("keeps a record without optional fields", async () => {
        const record = await put();
        expect(await read(record.id)).toEqual(record);
      });

      test("F20 answers with the record that is there, and leaves it", async () => {
        const first = await put();
        const second = recordOf({ id: first.id, owner: "another", inputHash: "another" });
        expect(await ledger.recordMany([second], now)).toEqual([{ kind: "exists", record: first }]);
        // The same call again finds its own owner.
        expect(await ledger.recordMany([first], now)).toEqual([{ kind: "exists", record: first }]);
        expect(await read(first.id)).toEqual(first);
      });

      test.each(FINAL_STATES)("keeps a %s record until its time is over", async (state) => {
        const first = await put({ state, finishedAt: now, expiresAt: now + 10_000 });
        expect(await ledger.recordMany([recordOf({ id: first.id })], now + 9_999)).toEqual([
          { kind: "exists", record: first },
        ]);
      });

      test("F29 overwrites a record whose time is over, and nothing of it is left", async () => {
        const { id } = await put({
          state: "dead",
          reason: "CRASHED",
          message: "old",
          failures: 3,
          owedAt: now,
          finishedAt: now,
          expiresAt: now + 10_000,
        });
        const next = recordOf({ id, createdAt: now + 10_000, fence: now + 10_000 });
        expect(await ledger.recordMany([next], now + 10_000)).toEqual([{ kind: "created" }]);
        expect(await read(id)).toEqual(next);
        for (const index of ["owed", "dead"] as const) {
          const query: IndexQuery = {
            index,
            shard: Number(shardOf(id, SPARSE_SHARDS)),
            from: now,
            until: now,
            limit: 10,
          };
          const page = await eventually(
            stack,
            () => ledger.query(query),
            ({ entries }) => entries.length === 0,
          );
          expect(page.entries).toEqual([]);
        }
      });

      test("answers a large batch in the order of its entries", async () => {
        const taken = await Promise.all(Array.from({ length: 7 }, () => put()));
        const records = Array.from({ length: 40 }, (_, place) =>
          recordOf(place % 6 === 3 ? { id: taken[(place - 3) / 6]?.id ?? "" } : {}),
        );
        const outcomes = await ledger.recordMany(records, now);
        expect(outcomes.map(({ kind }) => kind)).toEqual(
          records.map((_, place) => (place % 6 === 3 ? "exists" : "created")),
        );
        const stored = await ledger.readMany(records.map(({ id }) => id));
        expect(stored).toEqual(records.map((record, place) => (place % 6 === 3 ? taken[(place - 3) / 6] : record)));
      });

      test("creates one of two entries of one id", async () => {
        const { id } = recordOf();
        const outcomes = await ledger.recordMany([recordOf({ id, owner: "a" }), recordOf({ id, owner: "b" })], now);
        expect(outcomes.map(({ kind }) => kind).sort()).toEqual(["created", "exists"]);
        const winner = outcomes[0]?.kind === "created" ? "a" : "b";
        expect(await read(id)).toMatchObject({ owner: winner });
      });

      test("lets one of many at once win", async () => {
        const { id } = recordOf();
        const owners = Array.from({ length: 20 }, (_, place) => `producer-${place}`);
        const outcomes = await Promise.all(owners.map((owner) => ledger.recordMany([recordOf({ id, owner })], now)));
        const created = owners.filter((_, place) => outcomes[place]?.[0]?.kind === "created");
        expect(created).toHaveLength(1);
        expect(await read(id)).toMatchObject({ owner: created[0] });
        expect(outcomes.flat().filter((outcome) => outcome.kind === "exists")).toHaveLength(19);
      });

      test("fails for an item over 400 KB, without its neighbours", async () => {
        const records = [recordOf(), recordOf({ meta: "x".repeat(410_000) }), recordOf()];
        const outcomes = await ledger.recordMany(records, now);
        expect(outcomes.map(({ kind }) => kind)).toEqual(["created", "failed", "created"]);
        expect(outcomes[1]?.kind === "failed" && TasklaneError.is(outcomes[1].error)).toBe(true);
        expect(await read(records[1]?.id ?? "")).toBeUndefined();
      });
    });

    describe("readMany", () => {
      test("answers in the order of the ids, whatever is missing or asked for twice", async () => {
        const records = await Promise.all(Array.from({ length: 130 }, () => put()));
        const expected = records.flatMap((record) => [record, undefined, record]);
        const ids = records.flatMap(({ id }) => [id, `missing-${id}`, id]);
        expect(await ledger.readMany(ids)).toEqual(expected);
      });

      test("takes no ids", async () => {
        expect(await ledger.readMany([])).toEqual([]);
      });

      test("reads in the end what was written, where it need not be at once", async () => {
        const record = await put();
        const ask = async (): Promise<TaskRecord | undefined> =>
          (await ledger.readMany([record.id], { eventually: true }))[0];
        expect(await eventually(stack, ask, (found) => found !== undefined)).toEqual(record);
      });
    });

    describe("claimMany", () => {
      test("takes the lease of a queued task", async () => {
        const stored = await put({ resends: 3, attempts: 2, failures: 2 });
        const given = claimOf(stored.id);
        const { resends, attempts, fence, ...rest } = stored;
        expect([resends, attempts]).toEqual([3, 2]);
        const expected: TaskRecord = {
          ...rest,
          state: "running",
          fence: fence + 1,
          owner: given.owner,
          messageId: given.messageId,
          leaseUntil: given.leaseUntil,
          startedAt: now,
          attempts: 3,
          resends: 0,
        };
        expect(await claim(given)).toEqual({ kind: "written", record: expected });
        expect(await read(stored.id)).toEqual(expected);
      });

      test("is refused before the task's time", async () => {
        const stored = await put({ notBefore: now + 1 });
        expect(await aftermath(await claim(claimOf(stored.id)), stored)).toEqual(refusedAs(stored));
        expect(await claim(claimOf(stored.id, { now: now + 1 }))).toMatchObject({ kind: "written" });
      });

      test.each(["running", ...FINAL_STATES] as const)("is refused for a %s task", async (state) => {
        const stored = await put({ state, leaseUntil: now - DAY_MS });
        expect(await aftermath(await claim(claimOf(stored.id)), stored)).toEqual(refusedAs(stored));
      });

      test("is refused, with no record, where there is none", async () => {
        expect(await claim(claimOf(newId()))).toEqual({ kind: "refused", record: undefined });
        expect(await claim(claimOf(newId(), { takeover: { fence: 1, endedBefore: now } }))).toEqual({
          kind: "refused",
          record: undefined,
        });
      });

      test("F28 uses a slot once, and none before the last one used", async () => {
        const slotUs = now * 1_000 + 7;
        const { id } = await put({ slotUs });
        const stored = await read(id);
        if (stored === undefined) throw new Error("no record");
        for (const used of [slotUs, slotUs - 1])
          expect(await aftermath(await claim(claimOf(id, { slotUs: used })), stored)).toEqual(refusedAs(stored));
        expect(await claim(claimOf(id, { slotUs: slotUs + 1 }))).toMatchObject({
          kind: "written",
          record: { slotUs: slotUs + 1 },
        });
      });

      test("leaves the last slot where none is given", async () => {
        const { id } = await put({ slotUs: 77 });
        expect(await claim(claimOf(id))).toMatchObject({ kind: "written", record: { slotUs: 77 } });
      });

      test("takes over after the lease, and counts the crash", async () => {
        const running = await putRunning();
        const endedBefore = now + LEASE_MS + 1;
        const takeover = { fence: running.fence, endedBefore };
        const given = claimOf(running.id, { now: endedBefore + 5_000, messageId: "message-2", takeover });
        expect(await claim(given)).toEqual({
          kind: "written",
          record: {
            ...running,
            fence: running.fence + 1,
            owner: given.owner,
            messageId: "message-2",
            leaseUntil: given.leaseUntil,
            startedAt: given.now,
            attempts: 2,
            crashes: 1,
          },
        });
      });

      test("F27 takes over no lease that may still hold", async () => {
        const running = await putRunning();
        const takeover = { fence: running.fence, endedBefore: now + LEASE_MS };
        expect(await aftermath(await claim(claimOf(running.id, { now: now + DAY_MS, takeover })), running)).toEqual(
          refusedAs(running),
        );
      });

      test("takes over only from the fence that was seen, and only what runs", async () => {
        const running = await putRunning();
        const endedBefore = now + DAY_MS;
        expect(
          await aftermath(
            await claim(claimOf(running.id, { takeover: { fence: running.fence - 1, endedBefore } })),
            running,
          ),
        ).toEqual(refusedAs(running));
        expect(
          await aftermath(
            await claim(claimOf(running.id, { takeover: { fence: running.fence + 1, endedBefore } })),
            running,
          ),
        ).toEqual(refusedAs(running));
        const queued = await put({ leaseUntil: now - DAY_MS });
        expect(
          await aftermath(await claim(claimOf(queued.id, { takeover: { fence: queued.fence, endedBefore } })), queued),
        ).toEqual(refusedAs(queued));
      });

      test("F20 recognises its own earlier try, and counts it once", async () => {
        const { id } = await put();
        const given = claimOf(id);
        const first = writtenIn(await claim(given));
        expect(await claim(given)).toEqual({ kind: "written", record: first });
        const takeover = claimOf(id, { takeover: { fence: first.fence, endedBefore: now + DAY_MS } });
        const second = writtenIn(await claim(takeover));
        expect(await claim(takeover)).toEqual({ kind: "written", record: second });
        expect(await claim(given)).toEqual({ kind: "refused", record: second });
      });

      test("F01 lets one of 20 at once win", async () => {
        const { id } = await put();
        const claims = Array.from({ length: 20 }, () => claimOf(id));
        const outcomes = (await Promise.all(claims.map((given) => ledger.claimMany([given])))).flat();
        const winners = claims.filter((_, place) => outcomes[place]?.kind === "written");
        expect(winners).toHaveLength(1);
        const stored = await read(id);
        expect(stored).toMatchObject({ owner: winners[0]?.owner, attempts: 1, fence: now + 1 });
        const losers = outcomes.filter((outcome) => outcome.kind === "refused");
        expect(losers).toEqual(Array.from({ length: 19 }, () => ({ kind: "refused", record: stored })));
      });

      test("answers a large batch in the order of its entries", async () => {
        const records = await Promise.all(
          Array.from({ length: 30 }, (_, place) => put({ notBefore: now + (place % 4 === 1 ? 1 : 0) })),
        );
        const outcomes = await ledger.claimMany(records.map(({ id }) => claimOf(id)));
        expect(outcomes.map(({ kind }) => kind)).toEqual(
          records.map((_, place) => (place % 4 === 1 ? "refused" : "written")),
        );
        expect(outcomes.map((outcome) => (outcome.kind === "failed" ? undefined : outcome.record?.id))).toEqual(
          records.map(({ id }) => id),
        );
      });
    });

    describe("settleMany", () => {
      test("ends the attempt", async () => {
        const running = await putRunning({ owedAt: now });
        const { owedAt, leaseUntil, ...rest } = running;
        expect([owedAt, leaseUntil]).toEqual([now, now + LEASE_MS]);
        const expected = {
          ...rest,
          state: "succeeded",
          output: { at: "record", json: '"done"' },
          finishedAt: now,
          expiresAt: now + 14 * DAY_MS,
        };
        expect(await settle(heldBy(running, succeed('"done"')))).toEqual({ kind: "written", record: expected });
        expect(await read(running.id)).toEqual(expected);
      });

      test("puts back with what changed, and takes away counters that are zero again", async () => {
        const running = await putRunning({ failures: 4, message: "old" });
        const patch: RecordPatch = {
          set: { state: "queued", notBefore: now + 9, failures: 0, snoozes: 1 },
          remove: ["message"],
        };
        const { message, ...rest } = running;
        expect(message).toBe("old");
        const expected = { ...rest, state: "queued", notBefore: now + 9, failures: 0, snoozes: 1 };
        expect(await settle(heldBy(running, patch))).toEqual({ kind: "written", record: expected });
        expect(await read(running.id)).toEqual(expected);
      });

      test("F03 is refused under another fence or owner", async () => {
        const running = await putRunning();
        expect(
          await aftermath(await settle({ ...heldBy(running, succeed("1")), fence: running.fence - 1 }), running),
        ).toEqual(refusedAs(running));
        expect(
          await aftermath(await settle({ ...heldBy(running, succeed("1")), fence: running.fence + 1 }), running),
        ).toEqual(refusedAs(running));
        expect(await aftermath(await settle({ ...heldBy(running, succeed("1")), owner: "somebody" }), running)).toEqual(
          refusedAs(running),
        );
      });

      test("is refused where nothing runs", async () => {
        const queued = await put();
        expect(await aftermath(await settle({ ...heldBy(queued, succeed("1")), owner: "somebody" }), queued)).toEqual(
          refusedAs(queued),
        );
        expect(await settle(heldBy(recordOf(), succeed("1")))).toEqual({ kind: "refused", record: undefined });
      });

      test("F03 refuses a worker whose task was taken over", async () => {
        const zombie = await putRunning();
        const takeover = { fence: zombie.fence, endedBefore: now + DAY_MS };
        const owner = writtenIn(await claim(claimOf(zombie.id, { takeover })));
        expect(await aftermath(await settle(heldBy(zombie, succeed('"stale"'))), owner)).toEqual(refusedAs(owner));
        const settled = writtenIn(await settle(heldBy(owner, succeed('"right"'))));
        expect(await aftermath(await settle(heldBy(zombie, succeed('"stale"'))), settled)).toEqual(refusedAs(settled));
        expect(settled.output).toEqual({ at: "record", json: '"right"' });
      });

      test("F20 recognises its own earlier try, until somebody claims the task again", async () => {
        const running = await putRunning();
        const write = heldBy(running, { set: { state: "queued", failures: 1 } });
        const settled = writtenIn(await settle(write));
        expect(await settle(write)).toEqual({ kind: "written", record: settled });
        const next = writtenIn(await claim(claimOf(running.id)));
        expect(await aftermath(await settle(write), next)).toEqual(refusedAs(next));
      });

      test("answers a large batch in the order of its entries", async () => {
        const running = await Promise.all(Array.from({ length: 27 }, () => putRunning()));
        const writes = running.map((record, place) => ({
          ...heldBy(record, succeed(String(place))),
          ...(place % 5 === 2 ? { owner: "somebody" } : {}),
        }));
        const outcomes = await ledger.settleMany(writes);
        expect(outcomes.map(({ kind }) => kind)).toEqual(
          writes.map((_, place) => (place % 5 === 2 ? "refused" : "written")),
        );
        const stored = await ledger.readMany(running.map(({ id }) => id));
        expect(stored.map((record) => record?.output)).toEqual(
          writes.map((_, place) => (place % 5 === 2 ? undefined : { at: "record", json: String(place) })),
        );
      });
    });

    describe("renewMany", () => {
      const renew = async (write: HeldWrite): Promise<WriteOutcome> => one(await ledger.renewMany([write]));

      test("extends the lease, shows progress, and tells of a wish to cancel", async () => {
        const running = await putRunning();
        writtenIn(await change(running, { set: { cancelRequested: "by the customer" } }));
        const patch = { set: { leaseUntil: now + DAY_MS, progress: "0.5" } };
        const expected = { ...running, ...patch.set, cancelRequested: "by the customer" };
        expect(await renew(heldBy(running, patch))).toEqual({ kind: "written", record: expected });
        expect(await renew(heldBy(running, patch))).toEqual({ kind: "written", record: expected });
      });

      test("F03 is refused once the lease is lost, or the attempt has ended", async () => {
        const zombie = await putRunning();
        const patch = { set: { leaseUntil: now + DAY_MS } };
        const takeover = { fence: zombie.fence, endedBefore: now + DAY_MS };
        const owner = writtenIn(await claim(claimOf(zombie.id, { takeover })));
        expect(await aftermath(await renew(heldBy(zombie, patch)), owner)).toEqual(refusedAs(owner));
        const settled = writtenIn(await settle(heldBy(owner, succeed("1"))));
        expect(await aftermath(await renew(heldBy(owner, patch)), settled)).toEqual(refusedAs(settled));
        expect(await renew(heldBy(recordOf(), patch))).toEqual({ kind: "refused", record: undefined });
      });
    });

    describe("changeMany", () => {
      test("changes a task that is as it was seen", async () => {
        const stored = await put();
        const patch: RecordPatch = { set: { state: "cancelled", reason: "TASK_CANCELLED", finishedAt: now } };
        const expected = { ...stored, ...patch.set };
        expect(await change(stored, patch)).toEqual({ kind: "written", record: expected });
        expect(await read(stored.id)).toEqual(expected);
      });

      test("is refused if state, fence or epoch are others, or there is no task", async () => {
        const stored = await put();
        const patch: RecordPatch = { set: { state: "cancelled" } };
        expect(await aftermath(await change({ ...stored, state: "running" }, patch), stored)).toEqual(
          refusedAs(stored),
        );
        expect(await aftermath(await change({ ...stored, fence: stored.fence + 1 }, patch), stored)).toEqual(
          refusedAs(stored),
        );
        expect(await aftermath(await change({ ...stored, epoch: 2 }, patch), stored)).toEqual(refusedAs(stored));
        expect(await change(recordOf(), patch)).toEqual({ kind: "refused", record: undefined });
      });

      test("F48 lets either the claim or the cancel win, never both", async () => {
        const records = await Promise.all(Array.from({ length: 10 }, () => put()));
        const cancels = records.map(({ id, state, fence, epoch }): SeenWrite => {
          return { id, seen: { state, fence, epoch }, patch: { set: { state: "cancelled", finishedAt: now } } };
        });
        const [claimed, cancelled] = await Promise.all([
          ledger.claimMany(records.map(({ id }) => claimOf(id))),
          ledger.changeMany(cancels),
        ]);
        const stored = await ledger.readMany(records.map(({ id }) => id));
        for (const [place, record] of stored.entries()) {
          const won = record?.state === "running" ? claimed : cancelled;
          const lost = record?.state === "running" ? cancelled : claimed;
          expect([won[place]?.kind, lost[place]?.kind]).toEqual(["written", "refused"]);
        }
      });

      test("F34 starts another epoch once", async () => {
        const dead = await put({ state: "dead", reason: "CRASHED", finishedAt: now, expiresAt: now + DAY_MS });
        const patch: RecordPatch = {
          set: { state: "queued", epoch: 2, notBefore: now + 5, owedAt: now + 5 },
          remove: ["reason", "finishedAt", "expiresAt"],
        };
        const outcomes = await Promise.all([change(dead, patch), change(dead, patch), change(dead, patch)]);
        expect(outcomes.map(({ kind }) => kind).sort()).toEqual(["refused", "refused", "written"]);
        const { reason, finishedAt, expiresAt, ...rest } = dead;
        expect([reason, finishedAt, expiresAt]).toEqual(["CRASHED", now, now + DAY_MS]);
        expect(await read(dead.id)).toEqual({ ...rest, ...patch.set });
      });

      test("answers a large batch in the order of its entries", async () => {
        const records = await Promise.all(Array.from({ length: 26 }, () => put()));
        const outcomes = await ledger.changeMany(
          records.map(({ id, state, fence }, place) => ({
            id,
            seen: { state, fence, epoch: place % 3 === 0 ? 9 : 1 },
            patch: { set: { resends: place } },
          })),
        );
        expect(outcomes.map(({ kind }) => kind)).toEqual(
          records.map((_, place) => (place % 3 === 0 ? "refused" : "written")),
        );
      });
    });

    describe("side items", () => {
      const expiresAt = Date.UTC(2060, 0, 1);

      test("are read by the start of their key, in order, and with their task only", async () => {
        const { id } = await put();
        const other = newId();
        for (const key of ["h#3", "h#1", "p#x", "h#2", "h"])
          await ledger.putSide({ id, key, value: `${key} ${TEXT}`, expiresAt });
        await ledger.putSide({ id: other, key: "h#9", value: "of another", expiresAt });
        expect(await ledger.readSides(id, "h#")).toEqual(
          ["h#1", "h#2", "h#3"].map((key) => ({ key, value: `${key} ${TEXT}` })),
        );
        expect((await ledger.readSides(id, "")).map(({ key }) => key)).toEqual(["h", "h#1", "h#2", "h#3", "p#x"]);
        expect(await ledger.readSides(id, "q#")).toEqual([]);
        expect(await ledger.readSides(newId(), "")).toEqual([]);
      });

      test("are replaced, unless they hold a higher order", async () => {
        const id = newId();
        const write = (value: string, order?: number): Promise<void> =>
          ledger.putSide({ id, key: "k", value, expiresAt, order });
        const value = async (): Promise<string | undefined> => (await ledger.readSides(id, "k"))[0]?.value;
        await write("first");
        await write("second");
        expect(await value()).toBe("second");
        await write("of order 5", 5);
        await write("of order 4", 4);
        expect(await value()).toBe("of order 5");
        await write("of order 5 again", 5);
        expect(await value()).toBe("of order 5 again");
        await write("of order 6", 6);
        await write("of none");
        expect(await value()).toBe("of none");
      });

      test("F29 are gone after their time", async () => {
        const id = newId();
        await ledger.putSide({ id, key: "over", value: "over", expiresAt: stack.now() - 1_000 });
        await ledger.putSide({ id, key: "still", value: "still", expiresAt: stack.now() + DAY_MS });
        expect((await ledger.readSides(id, "")).map(({ key }) => key)).toEqual(["still"]);
      });

      test("carry much, and never lie where the record is", async () => {
        const { id } = await put();
        const value = "😀".repeat(50_000);
        for (let part = 0; part < 8; part++) await ledger.putSide({ id, key: `big#${part}`, value, expiresAt });
        expect((await ledger.readSides(id, "big#")).map((side) => side.value === value)).toEqual(
          Array.from({ length: 8 }, () => true),
        );
        await expect(ledger.putSide({ id, key: "-", value: "", expiresAt })).rejects.toMatchObject({
          code: "OPTION_INVALID",
        });
        await expect(ledger.putSide({ id, key: "huge", value: "x".repeat(410_000), expiresAt })).rejects.toSatisfy(
          TasklaneError.is,
        );
        expect(await read(id)).toMatchObject({ id, state: "queued" });
      });
    });

    describe("query", () => {
      /** Reads a stretch of an index page by page, until it holds so many entries. */
      async function readAll(
        query: Omit<IndexQuery, "limit">,
        count: number,
        limit = 4,
      ): Promise<{ id: string; at: number }[]> {
        const ask = async (): Promise<{ id: string; at: number }[]> => {
          const entries: { id: string; at: number }[] = [];
          let next: string | undefined;
          do {
            const page = await ledger.query({ ...query, limit, next });
            expect(page.entries.length).toBeLessThanOrEqual(limit);
            entries.push(...page.entries);
            next = page.next;
          } while (next !== undefined);
          return entries;
        };
        return eventually(stack, ask, (entries) => entries.length === count);
      }

      const shard = (id: string, shards: number): number => Number(shardOf(id, shards));

      /** New ids that all fall into one shard. */
      function idsOfShard(count: number, of: number, shards: number): string[] {
        const ids: string[] = [];
        while (ids.length < count) {
          const id = newId();
          if (shard(id, shards) === of) ids.push(id);
        }
        return ids;
      }

      test("pages through the creation index, both ways, with both ends included", async () => {
        const ids = idsOfShard(11, 3, CREATION_SHARDS);
        const places = ids.map((id, place) => ({ id, at: now + place * 10 }));
        await Promise.all(places.map(({ id, at }) => put({ id, createdAt: at })));
        await put({ id: idsOfShard(1, 4, CREATION_SHARDS)[0] ?? "", createdAt: now + 20 });
        const all = { index: "created", shard: 3, from: now, until: now + 100 } as const;
        expect(await readAll(all, 11)).toEqual(places);
        expect(await readAll({ ...all, newestFirst: true }, 11)).toEqual([...places].reverse());
        expect(await readAll({ ...all, from: now + 20, until: now + 70 }, 6)).toEqual(places.slice(2, 8));
        expect(await readAll({ ...all, from: now + 21, until: now + 69, newestFirst: true }, 4)).toEqual(
          places.slice(3, 7).reverse(),
        );
        expect(await readAll({ ...all, from: now + 1, until: now + 9 }, 0)).toEqual([]);
        expect(await readAll({ ...all, from: now + 9, until: now + 1 }, 0)).toEqual([]);
        expect(await readAll({ ...all, until: Number.POSITIVE_INFINITY }, 11, 100)).toEqual(places);
      });

      test("loses and repeats nothing among entries of one time", async () => {
        const ids = idsOfShard(9, 7, CREATION_SHARDS);
        await ledger.recordMany(
          ids.map((id) => recordOf({ id })),
          now,
        );
        const query = { index: "created", shard: 7, from: now, until: now } as const;
        for (const newestFirst of [false, true])
          expect((await readAll({ ...query, newestFirst }, 9, 2)).map(({ id }) => id).sort()).toEqual([...ids].sort());
      });

      test("finds a created task in every state", async () => {
        const [id = ""] = idsOfShard(1, 9, CREATION_SHARDS);
        const running = await putRunning({ id });
        await settle(heldBy(running, succeed("1")));
        expect(await readAll({ index: "created", shard: 9, from: now, until: now }, 1)).toEqual([{ id, at: now }]);
      });

      test("lists owed tasks by when, and no others", async () => {
        const ids = idsOfShard(6, 1, SPARSE_SHARDS);
        const [unowed = "", moved = "", settled = "", ...kept] = ids;
        const owedAt = (id: string): number => now + 100 - ids.indexOf(id);
        await put({ id: unowed });
        await Promise.all([moved, settled, ...kept].map((id) => put({ id, owedAt: owedAt(id) })));
        const query = { index: "owed", shard: 1, from: now, until: now + 1_000 } as const;
        const expected = [moved, settled, ...kept].map((id) => ({ id, at: owedAt(id) })).reverse();
        expect(await readAll(query, 5, 2)).toEqual(expected);

        const [toMove, toSettle] = await ledger.readMany([moved, settled]);
        if (toMove === undefined || toSettle === undefined) throw new Error("no record");
        writtenIn(await change(toMove, { set: { owedAt: now + 500 } }));
        const running = writtenIn(await claim(claimOf(toSettle.id)));
        writtenIn(await settle(heldBy(running, succeed("1"))));
        const left = [...kept.map((id) => ({ id, at: owedAt(id) })).reverse(), { id: moved, at: now + 500 }];
        expect(await readAll(query, 4, 2)).toEqual(left);
      });

      test("lists dead tasks by when they died, until they are redriven", async () => {
        const ids = idsOfShard(3, 2, SPARSE_SHARDS);
        for (const [place, id] of ids.entries()) {
          const running = await putRunning({ id });
          writtenIn(
            await settle(heldBy(running, { set: { state: "dead", finishedAt: now + place, reason: "CRASHED" } })),
          );
        }
        const query = { index: "dead", shard: 2, from: now, until: now + 10 } as const;
        expect(await readAll(query, 3)).toEqual(ids.map((id, place) => ({ id, at: now + place })));
        const [first] = await ledger.readMany(ids);
        if (first === undefined) throw new Error("no record");
        writtenIn(await change(first, { set: { state: "queued", epoch: 2 } }));
        expect((await readAll(query, 2)).map(({ id }) => id)).toEqual(ids.slice(1));
      });

      test("takes a token only from itself", async () => {
        const query: IndexQuery = { index: "owed", shard: 0, from: 0, until: now, limit: 1, next: "somebody's" };
        await expect(ledger.query(query)).rejects.toMatchObject({ code: "OPTION_INVALID" });
      });
    });

    describe("reserve", () => {
      const bucketName = (): string => `limit-${++made}`;
      const us = (ms: number): number => (now + ms) * 1_000;
      const reserveOf = (bucket: string, count: number, atMs = 0): Parameters<Ledger["reserve"]>[0] => ({
        bucket,
        count,
        nowUs: us(atMs),
        intervalUs: 100_000,
        floorUs: us(atMs - 400),
        horizonUs: us(atMs + 1_000),
        expiresAt: now + DAY_MS,
      });

      test("starts a new bucket at the floor, and goes on from there", async () => {
        const bucket = bucketName();
        expect(await ledger.reserve(reserveOf(bucket, 3))).toEqual({ granted: 3, firstUs: us(-400), nextUs: us(-100) });
        expect(await ledger.reserve(reserveOf(bucket, 2))).toEqual({ granted: 2, firstUs: us(-100), nextUs: us(100) });
        expect(await ledger.reserve(reserveOf(bucketName(), 1))).toEqual({
          granted: 1,
          firstUs: us(-400),
          nextUs: us(-300),
        });
      });

      test("hands out no slot beyond the horizon", async () => {
        const bucket = bucketName();
        expect(await ledger.reserve(reserveOf(bucket, 100))).toEqual({
          granted: 15,
          firstUs: us(-400),
          nextUs: us(1_100),
        });
        expect(await ledger.reserve(reserveOf(bucket, 1))).toEqual({
          granted: 0,
          firstUs: us(1_100),
          nextUs: us(1_100),
        });
        expect(await ledger.reserve(reserveOf(bucket, 3, 200))).toEqual({
          granted: 2,
          firstUs: us(1_100),
          nextUs: us(1_300),
        });
      });

      test("loses what was not used beyond the burst", async () => {
        const bucket = bucketName();
        await ledger.reserve(reserveOf(bucket, 2));
        expect(await ledger.reserve(reserveOf(bucket, 1, 60_000))).toEqual({
          granted: 1,
          firstUs: us(59_600),
          nextUs: us(59_700),
        });
      });

      test("F27 never goes back with somebody's clock", async () => {
        const bucket = bucketName();
        await ledger.reserve(reserveOf(bucket, 10));
        expect(await ledger.reserve(reserveOf(bucket, 1, -300))).toEqual({
          granted: 1,
          firstUs: us(600),
          nextUs: us(700),
        });
      });

      test("F28 gives no slot to two of many at once", async () => {
        const bucket = bucketName();
        const wide = { ...reserveOf(bucket, 3), horizonUs: us(60_000) };
        const rounds = await Promise.all(Array.from({ length: 20 }, () => ledger.reserve(wide)));
        const slots = rounds.flatMap(({ granted, firstUs }) =>
          Array.from({ length: granted }, (_, at) => firstUs + at * 100_000),
        );
        expect(slots.sort((a, b) => a - b)).toEqual(
          Array.from({ length: slots.length }, (_, at) => us(-400) + at * 100_000),
        );
        expect(slots.length).toBeGreaterThanOrEqual(3);
      });

      test("F28 never hands out slots closer than the interval, nor more than burst + rate × time", async () => {
        const steps = fc.array(
          fc.record({
            passMs: fc.integer({ min: 0, max: 900 }),
            skewMs: fc.integer({ min: -50, max: 50 }),
            count: fc.integer({ min: 1, max: 8 }),
          }),
          { minLength: 1, maxLength: 15 },
        );
        const shape = fc.record({
          intervalMs: fc.integer({ min: 1, max: 200 }),
          burst: fc.integer({ min: 1, max: 10 }),
          steps,
        });
        const property = fc.asyncProperty(shape, async ({ intervalMs, burst, steps: taken }) => {
          const bucket = bucketName();
          const intervalUs = intervalMs * 1_000;
          const slots: number[] = [];
          let at = 0;
          for (const { passMs, skewMs, count } of taken) {
            at += passMs;
            const nowUs = us(at + skewMs);
            const floorUs = nowUs - (burst - 1) * intervalUs;
            const horizonUs = nowUs + 500_000;
            const reserved = await ledger.reserve({
              bucket,
              count,
              nowUs,
              intervalUs,
              floorUs,
              horizonUs,
              expiresAt: now + DAY_MS,
            });
            expect(reserved.nextUs).toBe(reserved.firstUs + reserved.granted * intervalUs);
            expect(reserved.granted).toBeLessThanOrEqual(count);
            expect(reserved.firstUs).toBeGreaterThanOrEqual(floorUs);
            for (let place = 0; place < reserved.granted; place++) {
              const slotUs = reserved.firstUs + place * intervalUs;
              expect(slotUs).toBeLessThanOrEqual(horizonUs);
              expect(slotUs - (slots.at(-1) ?? Number.NEGATIVE_INFINITY)).toBeGreaterThanOrEqual(intervalUs);
              slots.push(slotUs);
            }
            expect(reserved.granted === count || reserved.nextUs > horizonUs).toBe(true);
            // Nothing is granted beyond what the time since the first floor and the horizon allow.
            expect(slots.length).toBeLessThanOrEqual(burst + (us(at + 50) - us(-50) + 500_000) / intervalUs);
          }
        });
        await fc.assert(property, { numRuns: stack.clock === "manual" ? 200 : 20 });
      });
    });

    describe("documents", () => {
      const documentName = (): string => `document-${++made}`;

      test("have version 0 until they are written, and one more with each write", async () => {
        const document = documentName();
        expect(await ledger.readDocument(document)).toEqual({ value: "", version: 0 });
        expect(await ledger.writeDocument(document, TEXT, 0)).toBe(true);
        expect(await ledger.readDocument(document)).toEqual({ value: TEXT, version: 1 });
        expect(await ledger.writeDocument(document, "second", 1)).toBe(true);
        expect(await ledger.readDocument(document)).toEqual({ value: "second", version: 2 });
      });

      test("are not replaced by who has not seen the last version", async () => {
        const document = documentName();
        expect(await ledger.writeDocument(document, "early", 1)).toBe(false);
        await ledger.writeDocument(document, "first", 0);
        await ledger.writeDocument(document, "second", 1);
        for (const version of [0, 1, 3]) expect(await ledger.writeDocument(document, "stale", version)).toBe(false);
        expect(await ledger.readDocument(document)).toEqual({ value: "second", version: 2 });
      });

      test.each([0, 1])("are written by one of many at once, from version %i", async (version) => {
        const document = documentName();
        if (version === 1) await ledger.writeDocument(document, "first", 0);
        const written = await Promise.all(
          Array.from({ length: 20 }, (_, place) => ledger.writeDocument(document, `by ${place}`, version)),
        );
        expect(written.filter(Boolean)).toHaveLength(1);
        expect(await ledger.readDocument(document)).toEqual({
          value: `by ${written.indexOf(true)}`,
          version: version + 1,
        });
      });
    });

    describeCounters(() => ({ stack, now }));
  });
}

function one(outcomes: readonly WriteOutcome[]): WriteOutcome {
  expect(outcomes).toHaveLength(1);
  const [outcome] = outcomes;
  if (outcome === undefined) throw new Error("no outcome");
  return outcome;
}

function writtenIn(outcome: WriteOutcome): TaskRecord {
  if (outcome.kind !== "written") throw new Error(`the write was ${outcome.kind}`);
  return outcome.record;
}
