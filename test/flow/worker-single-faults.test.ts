import { describe, expect, test } from "vitest";
import type { Fault } from "../../lib/memory/memory-faults.ts";
import type { Asked, Errands } from "../support/flow-errands.ts";
import {
  askFor,
  errandHandlers,
  EVERYDAY_ERRANDS,
  faultsOf,
  isAllOver,
  LATE_ERRANDS,
} from "../support/flow-errands.ts";
import { flowWorld } from "../support/flow-world.ts";

/** Carries a plan out with one call struck, and answers what is wrong at the end. */
async function carryOut(errands: Errands, strike?: { readonly number: number; readonly fault: Fault }) {
  const world = await flowWorld();
  let number = 0;
  world.faults = () => (number++ === strike?.number ? strike.fault : undefined);
  world.worker(errandHandlers);
  const asked: Asked = { tasks: new Map() };
  await world.during(askFor(world, errands, asked));
  await world.until(() => isAllOver(world), "4h");
  const calls = [...world.calls];
  const struck = strike === undefined ? undefined : calls[strike.number];
  // A handler whose own call fails is tried again.
  const found = await faultsOf(world, asked, struck?.verb === "recordMany" ? 1 : 0);
  for (const record of world.audit.records.values()) if (record.crashes > 0) found.push(`${record.id} crashed`);
  await world.close();
  // Whatever was sent twice on the way is gone: nothing goes round for ever.
  const { visible, delayed } = await world.backend.queue.depth({ lane: "normal" });
  if (visible + delayed > 0) found.push(`${visible + delayed} messages are left`);
  return { calls, found };
}

async function strikeEach(errands: Errands, fault: Fault): Promise<{ struck: number; failures: string[] }> {
  const baseline = await carryOut(errands);
  expect(baseline.found).toEqual([]);
  const failures: string[] = [];
  let [struck, queries] = [0, 0];
  for (const [number, { verb, target }] of baseline.calls.entries()) {
    // The scheduler asks the same of each shard: some of its questions stand for all.
    if (verb === "query" && queries++ % 5 !== 0) continue;
    struck++;
    const { found } = await carryOut(errands, { number, fault }).catch((error: unknown) => ({
      found: [String(error)],
    }));
    if (found.length > 0) failures.push(`call ${number}, ${verb} of ${target}: ${found.join("; ")}`);
  }
  return { struck, failures };
}

describe("any one call that goes wrong", () => {
  test("F20 an answer lost after the write landed is recognised as ours: every call site, one at a time", async () => {
    const { struck, failures } = await strikeEach(EVERYDAY_ERRANDS, "unanswered");
    expect(failures).toEqual([]);
    expect(struck).toBeGreaterThan(150);
  });

  test("F18 a call that is refused costs no task its one commit: every call site, one at a time", async () => {
    const { struck, failures } = await strikeEach(EVERYDAY_ERRANDS, "refused");
    expect(failures).toEqual([]);
    expect(struck).toBeGreaterThan(150);
  });

  test.each<Fault>(["unanswered", "refused"])(
    "F20 F21 a task for later comes to its end though a call is %s",
    async (fault) => {
      const { failures } = await strikeEach(LATE_ERRANDS, fault);
      expect(failures).toEqual([]);
    },
  );
});
