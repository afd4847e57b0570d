import { expect, test } from "vitest";
import { LEASE_MS, ONE_AT_A_TIME, setStage, until } from "./stage.ts";
import { gated } from "./tasks.ts";
import { commitsOf, refusalsOf, startsOf } from "./verdict.ts";

test("F03 a process stopped for two leases: its signal aborts, its settlement is refused, the other's counts", async () => {
  const { client, fleet, effects, reports, openGate } = await setStage({ worker: () => ONE_AT_A_TIME });
  const task = await client.enqueue(gated, { gate: "gate", holds: 2, heedsSignal: false });
  fleet.start(0, 1);
  const first = await until(() => startsOf(effects.lines(), task.id)[0], "a start", { withinMs: 15_000 });
  const stoppedAt = performance.now();
  fleet.pause(first.pid);
  const second = await until(
    () => performance.now() - stoppedAt >= 2 * LEASE_MS && startsOf(effects.lines(), task.id)[1],
    "a start elsewhere",
    { withinMs: 15_000 },
  );
  expect(second.pid).not.toBe(first.pid);
  expect(second.fence).toBeGreaterThan(first.fence);

  // The zombie wakes up while the other one runs.
  fleet.resume(first.pid);
  const aborted = await until(() => effects.lines().find(({ kind }) => kind === "aborted"), "an abort", {
    withinMs: LEASE_MS,
  });
  expect(aborted).toMatchObject({ pid: first.pid, fence: first.fence, code: "LEASE_LOST" });
  await openGate("gate", 1);
  const [refusal] = await until(
    () => refusalsOf(reports.lines(), task.id).length > 0 && refusalsOf(reports.lines(), task.id),
    "a refusal",
    {
      withinMs: 5_000,
    },
  );
  expect(refusal?.pid).toBe(first.pid);
  expect(await client.task(gated, task.id).get()).toMatchObject({ state: "running", attempts: 2, crashes: 1 });

  await openGate("gate", 2);
  expect(await task.result({ timeout: "10s" })).toEqual({ fence: second.fence, pid: second.pid });
  expect(await client.task(gated, task.id).get()).toMatchObject({
    state: "succeeded",
    attempts: 2,
    crashes: 1,
    failures: 0,
  });
  const exits = await fleet.terminate();
  expect(exits.map(({ code }) => code)).toEqual([0, 0]);
  expect(commitsOf(reports.lines(), task.id)).toMatchObject([{ pid: second.pid }]);
  expect(startsOf(effects.lines(), task.id)).toHaveLength(2);
});

const HELD = 2;

test("F03 tasks that were put back while their process only stood still outlive its later end", async () => {
  const stage = await setStage({ worker: () => ({ lanes: ["normal"], concurrency: HELD }) });
  const { client, fleet, effects, reports } = stage;
  const refs = await client.enqueueMany(
    gated,
    Array.from({ length: HELD }, () => ({ input: { gate: "never", holds: 1, heedsSignal: true } })),
  );
  fleet.start(0);
  await until(() => effects.lines().length === HELD, `${HELD} starts`, { withinMs: 15_000 });
  const holder = fleet.pidOf(0);
  fleet.pause(holder);
  fleet.start(1);
  // The other one keeps one suspect, and sends the messages of the rest anew for later.
  const putBack = await until(
    () => {
      const deferred = reports.lines().flatMap((report) => (report.type === "deferred" ? report : []));
      return deferred.length === HELD - 1 && deferred;
    },
    "suspects that are put back",
    { withinMs: 15_000 },
  );
  fleet.resume(holder);
  // They come back while the holder has renewed its leases: they must not be taken for copies that nobody needs.
  const backAt = Math.max(...putBack.map(({ at, delayMs }) => at + delayMs));
  await until(() => Date.now() > backAt + 500, "the messages' return", { withinMs: 15_000 });
  fleet.kill(holder);
  const tasks = await stage.settled(HELD, 30_000);
  for (const { id } of refs) expect(tasks.get(id)).toMatchObject({ state: "succeeded", attempts: 2, crashes: 1 });
});
