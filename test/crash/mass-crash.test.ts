import { expect, test } from "vitest";
import { setStage, until } from "./stage.ts";
import { gated } from "./tasks.ts";
import { startsOf } from "./verdict.ts";

const TASKS = 20;

test("F08 20 tasks that run in one process when it is killed all succeed, and none is taken for a pill", async () => {
  const stage = await setStage({ worker: () => ({ lanes: ["normal"], concurrency: TASKS }) });
  const { client, fleet, effects } = stage;
  const refs = await client.enqueueMany(
    gated,
    Array.from({ length: TASKS }, () => ({ input: { gate: "never", holds: 1, heedsSignal: true } })),
  );
  fleet.start(0);
  await until(() => effects.lines().length === TASKS, `${TASKS} starts`, { withinMs: 20_000 });
  fleet.kill(fleet.pidOf(0));
  fleet.start(1);
  const tasks = await stage.settled(TASKS, 60_000);
  for (const { id } of refs) {
    expect(tasks.get(id)).toMatchObject({ state: "succeeded", crashes: 1, attempts: 2, failures: 0 });
    expect(startsOf(effects.lines(), id)).toHaveLength(2);
  }
  expect(fleet.surprises).toEqual([]);
});
