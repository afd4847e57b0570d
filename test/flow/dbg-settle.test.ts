import { test } from "vitest";
import { appendFileSync } from "node:fs";
const say=(...a: unknown[])=>appendFileSync("/tmp/team/flowtest.log", a.map((x)=>typeof x==="string"?x:JSON.stringify(x)).join(" ")+"\n");
import { flowWorld } from "../support/flow-world.ts";
import { askForErrands, errandHandlers } from "../support/flow-errands.ts";
import type { Fault } from "../../lib/memory/memory-faults.ts";

async function run(at: number, fault: Fault | undefined) {
  const world = await flowWorld();
  let n = 0, struck: any;
  world.faults = (call) => { const mine = n++; if (n > 50000) throw new Error("loop"); if (mine === at) { struck = {...call, entry: call.entry?.slice(0,40)}; return fault; } return undefined; };
  world.worker(errandHandlers);
  const into = { wanted: new Map<string, any>(), asked: false };
  const problems: string[] = [];
  try {
  await world.during(askForErrands(world, into));
  await world.until(() => [...into.wanted].every(([id, w]) => world.audit.records.get(id)?.state === w.state), "4h");
  } catch (e) { problems.push(String(e).slice(0,200)); }
  problems.push(...world.audit.violations);
  for (const [id, w] of into.wanted) {
    const r = world.audit.records.get(id);
    const starts = world.of("attempt-started", id).length;
    if (r?.state !== w.state) problems.push(`${JSON.stringify(r?.input).slice(0,80)} is ${r?.state}`);
    if (starts !== w.starts) problems.push(`${JSON.stringify(r?.input).slice(0,80)} started ${starts}`);
    if (r?.crashes) problems.push(`${JSON.stringify(r?.input).slice(0,80)} crashes ${r.crashes}`);
    if (world.audit.commitsOf(id) !== 1) problems.push(`commits ${world.audit.commitsOf(id)}`);
  }
  if (world.audit.records.size !== 16) problems.push(`records ${world.audit.records.size}` + JSON.stringify([...world.audit.records.values()].filter((r)=>!into.wanted.has(r.id))));
  const took = world.clock.monotonic();
  await world.close();
  return { problems, struck, took, calls: world.calls };
}
test("dbg", async () => {
  const base = await run(-1, undefined);
  say(base.took, base.problems);
  const t0 = performance.now();
  let runs = 0, q = 0;
  for (let at = Number(process.env.AT ?? 0); at < 12; at++) {
    const v = base.calls[at]!.verb;
    if (v === "query" && q++ % 12 !== 0) continue;
    if (v === "receive" && at % 5) continue;
    for (const fault of ["refused", "unanswered"] as const) {
      runs++; say("at", at, fault, base.calls[at], Math.round(process.memoryUsage().rss/1e6), Math.round(performance.now()-t0));
      const r = await run(at, fault);
      if (r.problems.length || r.took > base.took + 60000) say(at, fault, JSON.stringify(r.struck), r.took, r.problems);
    }
  }
  say(runs, performance.now() - t0);
}, 300000);
