import { describe, expect, test } from "vitest";
import type { Asked } from "../support/flow-errands.ts";
import { askFor, errandHandlers, EVERYDAY_ERRANDS, faultsOf, isAllOver } from "../support/flow-errands.ts";
import type { HostCall } from "../support/flow-host.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";

type Phase = HostCall["phase"];

/** Carries the plan out while one worker dies at one of its calls, and another takes its place. Answers what is wrong at the end. */
async function dieAt(number: number, phase: Phase): Promise<{ calls: number; died: boolean; found: string[] }> {
  const world = await flowWorld();
  const asked: Asked = { tasks: new Map() };
  const first = world.worker(errandHandlers);
  let calls = 0;
  first.host.onCall = (call) => {
    calls = Math.max(calls, call.number + 1);
    if (call.number === number && call.phase === phase) first.host.kill();
  };
  await world.during(askFor(world, EVERYDAY_ERRANDS, asked));
  await world.until(() => first.host.isDead || isAllOver(world), "4h");
  const died = first.host.isDead;
  first.host.onCall = undefined;
  if (died) {
    await world.advance("1s");
    world.worker(errandHandlers);
    await world.until(() => isAllOver(world), "4h");
    // A death between the end of a task and its dead letter is made good when the message comes back.
    await world.advance("1m");
  }
  const found = await faultsOf(world, asked, 1);
  for (const record of world.audit.records.values())
    if (record.crashes > 1) found.push(`${record.id} counts ${record.crashes} crashes`);
  await world.close();
  return { calls, died, found };
}

/** Lets the caller die at one of its calls. What it was told is accepted, and whatever has a record, must come to its end. */
async function loseCallerAt(
  number: number,
  phase: Phase,
): Promise<{ died: boolean; found: string[]; world: FlowWorld }> {
  const world = await flowWorld();
  world.producer.onCall = (call) => {
    if (call.number === number && call.phase === phase) world.producer.kill();
  };
  const asked: Asked = { tasks: new Map() };
  let over = false;
  const asking = askFor(world, EVERYDAY_ERRANDS, asked).finally(() => {
    over = true;
  });
  asking.catch(() => undefined);
  world.worker(errandHandlers);
  await world.until(() => world.producer.isDead || over);
  await world.until(() => isAllOver(world), "4h");
  const died = world.producer.isDead;
  const found = [...world.audit.violations];
  for (const [id, { errand }] of asked.tasks)
    if (world.record(id).state !== errand.state) found.push(`"${errand.what}" is ${world.record(id).state}`);
  for (const record of world.audit.records.values())
    if (world.audit.commitsOf(record.id) !== 1)
      found.push(`${record.id} was committed ${world.audit.commitsOf(record.id)} times`);
  await world.close();
  return { died, found, world };
}

describe("any one moment at which a process dies", () => {
  test.each<Phase>(["before", "after"])(
    "F08 a worker that dies %s any one of its calls takes no task with it",
    async (phase) => {
      const { calls, found } = await dieAt(-1, phase);
      expect(found).toEqual([]);
      const failures: string[] = [];
      for (let number = 0; number < calls; number++) {
        const run = await dieAt(number, phase).catch((error: unknown) => ({ died: true, found: [String(error)] }));
        if (run.found.length > 0) failures.push(`${phase} call ${number}: ${run.found.join("; ")}`);
      }
      expect(failures).toEqual([]);
      expect(calls).toBeGreaterThan(100);
    },
  );

  test.each<Phase>(["before", "after"])(
    "F21 F24 a caller that dies %s any one of its calls loses nothing that it was told is accepted",
    async (phase) => {
      const failures: string[] = [];
      let number = 0;
      for (; ; number++) {
        const run = await loseCallerAt(number, phase);
        if (run.found.length > 0) failures.push(`${phase} call ${number}: ${run.found.join("; ")}`);
        if (!run.died) break;
      }
      expect(failures).toEqual([]);
      expect(number).toBeGreaterThan(20);
    },
  );
});
