import { expect, test } from "vitest";
import { drawFromSeed } from "./seed.ts";
import { setStage } from "./stage.ts";
import { work } from "./tasks.ts";
import type { KillPoint } from "./worker-settings.ts";
import { accountedAttempts, commitsOf, startsOf } from "./verdict.ts";

const SLOTS = 2;
/** The first call belongs to the start of the process, so that no task is in danger there. */
const FIRST_CALL = 2;
const LAST_CALL = 8;
/** Lives of each slot that end at a remote call; the next one lasts. */
const SHORT_LIVES = 4;
const TASKS = 12;

test("F08 processes killed right before and right after a remote call drawn by chance: nothing lost, one commit each", async () => {
  const draw = drawFromSeed("kill at a remote call");
  const points = Array.from({ length: SLOTS }, () =>
    Array.from(
      { length: SHORT_LIVES },
      (): KillPoint => ({ call: draw.between(FIRST_CALL, LAST_CALL), when: draw.pick(["before", "after"]) }),
    ),
  );
  const stage = await setStage({
    worker: (slot, life) => ({ lanes: ["normal"], concurrency: 3, killAt: points[slot]?.[life] }),
  });
  const { client, fleet, effects, reports } = stage;
  const refs = await client.enqueueMany(
    work,
    Array.from({ length: TASKS }, (_, at) => ({
      input: { stepsMs: [draw.between(20, 120)], plan: at % 3 === 0 ? ["retry" as const] : [] },
    })),
  );
  fleet.start(...points.keys());
  const tasks = await stage.settled(TASKS, 60_000);

  const deaths = reports.lines().flatMap((report) => (report.type === "suicide" ? report : []));
  console.log(deaths.map(({ when, name, call }) => `${when} ${name.replace("Command", "")} (call ${call})`).join(", "));
  expect(deaths.length).toBeGreaterThanOrEqual(SLOTS);
  for (const ref of refs) {
    const task = tasks.get(ref.id);
    expect(task).toMatchObject({ state: "succeeded" });
    if (task === undefined) continue;
    expect(task.attempts).toBe(accountedAttempts(task));
    const starts = startsOf(effects.lines(), ref.id);
    expect(starts.length).toBeLessThanOrEqual(task.attempts);
    const result = await ref.result({ timeout: "1s" });
    expect(starts).toContainEqual(expect.objectContaining({ ...result, attempt: task.attempts }));
    expect(commitsOf(reports.lines(), ref.id).length).toBeLessThanOrEqual(1);
  }
  const dead = new Set(deaths.map(({ pid }) => pid));
  expect(fleet.surprises.filter(({ pid }) => !dead.has(pid))).toEqual([]);
});
