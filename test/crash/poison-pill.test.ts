import { expect, test } from "vitest";
import type { EnqueuedTask } from "../../lib/index.ts";
import { LEASE_MS, setStage, until } from "./stage.ts";
import { gated, overflow, pill, work } from "./tasks.ts";
import { startsOf } from "./verdict.ts";

const NEIGHBOURS = 5;

test.for(["abort", "loop"] as const)(
  "F09 a pill that takes its process down (%s) ends dead, and the neighbours that ran with it succeed",
  async (death) => {
    const stage = await setStage({
      probeMs: 2 * LEASE_MS,
      worker: () => ({ lanes: ["normal"], concurrency: NEIGHBOURS + 1 }),
    });
    const { client, fleet, effects } = stage;
    const swallowed = await client.enqueue(pill, { death, company: NEIGHBOURS });
    const neighbours = await client.enqueueMany(
      gated,
      // Their first attempt lasts until the pill ends it.
      Array.from({ length: NEIGHBOURS }, () => ({ input: { gate: "never", holds: 1, heedsSignal: true } })),
    );
    fleet.start(0);
    await until(() => startsOf(effects.lines(), swallowed.id).length > 0, "the pill's start", { withinMs: 15_000 });
    fleet.start(1);
    // Other work comes in all the time, so that there is somebody whom the pill could take along.
    await until(() => fleet.exits.length > 0, "the first victim", { withinMs: 15_000 });
    const others: EnqueuedTask[] = [];
    const isDead = async (): Promise<boolean> => {
      for (let count = 0; count < 2; count++)
        others.push(await client.enqueue(work, { stepsMs: [200, 200, 200], plan: [] }));
      return (await swallowed.get()).state === "dead";
    };
    await until(isDead, "the pill's end", { withinMs: 60_000, everyMs: 250 });
    const tasks = await stage.settled(1 + NEIGHBOURS + others.length, 30_000);

    expect(tasks.get(swallowed.id)).toMatchObject({
      state: "dead",
      reason: "CRASHED",
      crashes: pill.maxCrashes,
      failures: 0,
    });
    const pillStarts = startsOf(effects.lines(), swallowed.id);
    expect(pillStarts).toHaveLength(pill.maxCrashes);
    expect(new Set(pillStarts.map(({ pid }) => pid)).size).toBe(pill.maxCrashes);
    for (const { id } of neighbours) {
      // They lose the one crash that was not theirs, and no other.
      expect(tasks.get(id)).toMatchObject({ state: "succeeded", crashes: 1, attempts: 2 });
      expect(startsOf(effects.lines(), id)[0]?.pid).toBe(pillStarts[0]?.pid);
    }
    // From its second start on the pill was alone.
    for (const { id } of others) expect(tasks.get(id)).toMatchObject({ state: "succeeded", crashes: 0, attempts: 1 });
    const { history } = await swallowed.get();
    expect(history?.map(({ outcome }) => outcome)).toContain("crash");
    // Nobody else had to go.
    await until(() => fleet.exits.length >= pill.maxCrashes, "the last victim's end", { withinMs: 10_000 });
    expect(fleet.exits.map(({ pid }) => pid)).toEqual(pillStarts.map(({ pid }) => pid));
  },
);

test("F09 a stack overflow is a failure like others, and its process goes on", async () => {
  const { client, fleet, effects, settled } = await setStage();
  const deep = await client.enqueue(overflow, { depth: 50_000 });
  fleet.start(0);
  await settled(1, 15_000);
  await expect(deep.result({ timeout: "1s" })).rejects.toMatchObject({ code: "TASK_DEAD" });
  const next = await client.enqueue(gated, { gate: "none", holds: 0, heedsSignal: true });
  const { pid } = await next.result({ timeout: "10s" });
  expect(await deep.get()).toMatchObject({ state: "dead", reason: "RETRIES_EXHAUSTED", crashes: 0, failures: 1 });
  expect(startsOf(effects.lines(), deep.id)).toMatchObject([{ pid }]);
  expect(fleet.exits).toEqual([]);
});
