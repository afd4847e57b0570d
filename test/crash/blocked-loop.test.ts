import { expect, test } from "vitest";
import { ONE_AT_A_TIME, setStage, until } from "./stage.ts";
import { spin } from "./tasks.ts";
import { commitsOf, refusalsOf, startsOf } from "./verdict.ts";

const SPIN_MS = 3_000;

test("F43 an event loop blocked for 3 s, longer than the lease: the blocked attempt is fenced, and there is one commit", async () => {
  const { client, fleet, effects, reports } = await setStage({ worker: () => ONE_AT_A_TIME });
  const task = await client.enqueue(spin, { leastMs: SPIN_MS });
  fleet.start(0, 1);
  const [blocked, other] = await until(
    () => refusalsOf(reports.lines(), task.id).length > 0 && startsOf(effects.lines(), task.id),
    "a refusal",
    { withinMs: 20_000 },
  );
  const result = await task.result({ timeout: "10s" });
  expect(result).toEqual({ fence: other?.fence, pid: other?.pid });
  expect(result.pid).not.toBe(blocked?.pid);
  expect(refusalsOf(reports.lines(), task.id)).toMatchObject([{ pid: blocked?.pid }]);
  expect(reports.lines()).toContainEqual(expect.objectContaining({ type: "stalled", pid: blocked?.pid }));
  expect(await task.get()).toMatchObject({ state: "succeeded", attempts: 2, crashes: 1, failures: 0 });
  // What the blocked process came to late has changed nothing.
  expect(await task.result({ timeout: "1s" })).toEqual(result);
  const exits = await fleet.terminate();
  expect(exits.map(({ code }) => code)).toEqual([0, 0]);
  expect(commitsOf(reports.lines(), task.id)).toMatchObject([{ pid: other?.pid }]);
  expect(startsOf(effects.lines(), task.id)).toHaveLength(2);
});
