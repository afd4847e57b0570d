import { expect, test } from "vitest";
import type { Effect } from "./journal.ts";
import { drawFromSeed } from "./seed.ts";
import type { Stage } from "./stage.ts";
import { LEASE_MS, setStage, until } from "./stage.ts";
import { work } from "./tasks.ts";
import { accountedAttempts, commitsOf, openStarts, overlaps, startsOf } from "./verdict.ts";

const TASKS = 100;
const WORKERS = 3;
const KILLS = 10;
const PAUSES = 2;
const LANES = ["critical", "high", "normal", "low"] as const;

/** Strikes once the effects file has so many lines, at a process that runs something then. */
interface Fault {
  readonly line: number;
  readonly kind: "kill" | "pause";
  /** Chooses among the processes that run something. */
  readonly victim: number;
  readonly pauseMs: number;
}

test("F08 100 tasks under three workers, ten kills and two pauses: one final state, one commit each, nothing lost", async () => {
  const draw = drawFromSeed("crash suite");
  const stage = await setStage();
  const { client, fleet, effects, reports } = stage;
  const startedAt = performance.now();

  const entries = Array.from({ length: TASKS }, (_, at) => ({
    input: {
      stepsMs: Array.from({ length: draw.between(3, 6) }, () => draw.between(20, 120)),
      plan: at % 7 === 3 ? ["retry" as const] : at % 7 === 5 ? ["snooze" as const] : [],
    },
    options: { lane: draw.pick(LANES) },
  }));
  const leastLines = entries.reduce((sum, { input }) => sum + input.stepsMs.length + 2, 0);
  const kinds = draw.shuffle([...Array<"kill">(KILLS).fill("kill"), ...Array<"pause">(PAUSES).fill("pause")]);
  // All within the first three quarters, so that there is still work to strike at.
  const points = kinds.map(() => draw.between(5, Math.floor(leastLines * 0.75))).sort((one, other) => one - other);
  const faults = kinds.map(
    (kind, at): Fault => ({
      line: points[at] ?? 0,
      kind,
      victim: draw.between(0, 999),
      pauseMs: draw.between(2 * LEASE_MS, 3 * LEASE_MS),
    }),
  );

  const refs = await client.enqueueMany(work, entries);
  fleet.start(...Array.from({ length: WORKERS }, (_, slot) => slot));
  await strike(stage, faults);
  const tasks = await stage.settled(TASKS, 90_000);
  const exits = await fleet.terminate();
  const seconds = (performance.now() - startedAt) / 1_000;

  const all = effects.lines();
  const starts = all.filter(({ kind }) => kind === "start");
  const ids = new Set(refs.map(({ id }) => id));
  const records = [...tasks.values()];
  const sum = (count: (task: (typeof records)[number]) => number): number =>
    records.reduce((total, task) => total + count(task), 0);
  const lost = refs.filter(({ id }) => tasks.get(id)?.state !== "succeeded");
  const unexpected = [...new Set([...tasks.keys(), ...starts.map(({ taskId }) => taskId)])].filter(
    (id) => !ids.has(id),
  );
  const duplicated = refs.filter(({ id }) => commitsOf(reports.lines(), id).length > 1);
  console.log(
    `total-queue: attempted ${TASKS}, acknowledged ${refs.length}, ok ${refs.length - lost.length}, lost ${lost.length}, ` +
      `unexpected ${unexpected.length}, duplicated ${duplicated.length}; starts ${starts.length}, ` +
      `failures ${sum((task) => task.failures)}, snoozes ${sum((task) => task.snoozes)}, crashes ${sum((task) => task.crashes)}, ` +
      `kills ${fleet.killed.size}, pauses ${fleet.pauses}, ${seconds.toFixed(1)} s, seed ${draw.seed}`,
  );

  expect({ lost, unexpected, duplicated }).toEqual({ lost: [], unexpected: [], duplicated: [] });
  expect(tasks.size).toBe(TASKS);
  expect({ kills: fleet.killed.size, pauses: fleet.pauses }).toEqual({ kills: KILLS, pauses: PAUSES });
  for (const ref of refs) {
    const task = tasks.get(ref.id);
    if (task === undefined) throw new Error(`task ${ref.id} is not in the ledger`);
    const mine = startsOf(all, ref.id);
    // Every claim is accounted for by what it came to, and no handler started without a claim of its own.
    expect(task.attempts, `attempts of ${ref.id}`).toBe(accountedAttempts(task));
    expect(mine.length, `starts of ${ref.id}`).toBeLessThanOrEqual(task.attempts);
    expect(new Set(mine.map(({ fence }) => fence)).size, `fences of ${ref.id}`).toBe(mine.length);
    expect(task.attempts).toBeLessThanOrEqual(
      1 + work.maxRetries + work.maxCrashes + task.snoozes + task.interruptions,
    );
    // The one result is that of a start which the effects file knows, and which came to its end there.
    const result = await ref.result({ timeout: "1s" });
    const isWinner = (effect: Effect): boolean => effect.fence === result.fence && effect.pid === result.pid;
    const won = all.filter((effect) => effect.taskId === ref.id && isWinner(effect)).map(({ kind }) => kind);
    expect(won, `winner of ${ref.id}`).toEqual(expect.arrayContaining(["start", "end"]));
    expect(mine.filter(isWinner)).toMatchObject([{ attempt: task.attempts }]);
  }
  const stalled = new Set(reports.lines().flatMap((report) => (report.type === "stalled" ? report.pid : [])));
  const excused = (pid: number): boolean => fleet.killed.has(pid) || fleet.paused.has(pid) || stalled.has(pid);
  expect(overlaps(all, excused)).toEqual([]);
  expect(exits.map(({ code }) => code)).toEqual(exits.map(() => 0));
  expect(fleet.surprises).toEqual([]);
});

/** Carries the faults out, in their order. */
async function strike({ fleet, effects }: Stage, faults: readonly Fault[]): Promise<void> {
  const paused = new Set<number>();
  const resumed: Promise<void>[] = [];
  for (const { line, kind, victim, pauseMs } of faults) {
    await until(() => effects.lines().length >= line, `${line} lines of effects`, { withinMs: 60_000 });
    const pid = await until(
      () => {
        const awake = fleet.pids.filter((other) => !paused.has(other) && !fleet.killed.has(other));
        const busy = [...new Set(openStarts(effects.lines(), awake).map((start) => start.pid))];
        return busy[victim % Math.max(1, busy.length)];
      },
      "a process that runs something",
      { withinMs: 30_000 },
    );
    if (kind === "kill") fleet.kill(pid);
    else {
      fleet.pause(pid);
      paused.add(pid);
      const resume = async (): Promise<void> => {
        await new Promise((resolve) => setTimeout(resolve, pauseMs));
        paused.delete(pid);
        fleet.resume(pid);
      };
      resumed.push(resume());
    }
  }
  await Promise.all(resumed);
}
