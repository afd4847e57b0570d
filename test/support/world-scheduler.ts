import type { RecoverOptions, RecoverReport } from "../../lib/flow/recover.ts";
import { recover } from "../../lib/flow/recover.ts";
import type { Services } from "../../lib/flow/services.ts";
import { makeServices } from "../../lib/flow/services.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { QueueAddress } from "../../lib/ports/queue.ts";
import type { TasklaneEvent } from "../../lib/task/events.ts";
import type { Lane } from "../../lib/task/lane.ts";
import type { FlowHost } from "./flow-host.ts";
import type { EventOf, FlowWorld } from "./flow-world.ts";

const MINUTE_MS = 60_000;

/** A scheduler of a world, run by hand, in a process of its own. */
export interface WorldScheduler {
  readonly host: FlowHost;
  readonly services: Services;
  /** Begins a run, and moves no time for it. */
  begin(options?: Partial<RecoverOptions>): Promise<RecoverReport>;
  /** One run, now. */
  run(options?: Partial<RecoverOptions>): Promise<RecoverReport>;
  /** A run now and one after each of so many steps of time, a minute by default. */
  runEach(times: number, everyMs?: number, options?: Partial<RecoverOptions>): Promise<RecoverReport[]>;
  /** What it sent again so far, oldest first. */
  resent(taskId?: string): EventOf<"resent">[];
  /** What it buried so far. */
  dead(taskId?: string): EventOf<"dead">[];
}

/** Adds a scheduler to a world. */
export function schedulerOf(world: FlowWorld, name = "scheduler"): WorldScheduler {
  const host = world.newHost();
  const events: TasklaneEvent[] = [];
  const services = makeServices({
    backend: host.reach(world.backend),
    clock: host.clock,
    random: seededRandom(7),
    onEvent: (event) => events.push(event),
  });
  const begin: WorldScheduler["begin"] = (options) => recover(services, { holder: name, ...options });
  const run: WorldScheduler["run"] = (options) => world.during(begin(options), "10m");
  const named = <Type extends TasklaneEvent["type"]>(type: Type, taskId?: string): EventOf<Type>[] =>
    events.filter(
      (event): event is EventOf<Type> =>
        event.type === type && (taskId === undefined || ("taskId" in event && event.taskId === taskId)),
    );
  return {
    host,
    services,
    begin,
    run,
    async runEach(times, everyMs = MINUTE_MS, options) {
      const reports = [await run(options)];
      for (let time = 0; time < times; time++) {
        await world.advance(everyMs);
        reports.push(await run(options));
      }
      return reports;
    },
    resent: (taskId) => named("resent", taskId),
    dead: (taskId) => named("dead", taskId),
  };
}

/** Removes every message that is visible, as a purge or a thief does. Answers how many there were. */
export async function purge(world: FlowWorld, address: QueueAddress = { lane: "normal" }): Promise<number> {
  for (let removed = 0; ; ) {
    const messages = await world.backend.queue.receive(address, { max: 10, waitMs: 0, visibilityMs: 30_000 });
    if (messages.length === 0) return removed;
    removed += messages.length;
    await world.backend.queue.acknowledge(
      address,
      messages.map(({ receipt }) => receipt),
    );
  }
}

/** Moves messages from a lane's dead letter queue back to the lane, as SQS's own redrive does. Answers how many it moved. */
export async function moveLetters(
  world: FlowWorld,
  count = Number.POSITIVE_INFINITY,
  lane: Lane = "normal",
): Promise<number> {
  const dead: QueueAddress = { lane, dead: true };
  for (let moved = 0; ; ) {
    const max = Math.min(10, count - moved);
    if (max <= 0) return moved;
    const messages = await world.backend.queue.receive(dead, { max, waitMs: 0, visibilityMs: 30_000 });
    if (messages.length === 0) return moved;
    await world.backend.queue.send(
      { lane },
      messages.map(({ body }) => ({ body })),
    );
    await world.backend.queue.acknowledge(
      dead,
      messages.map(({ receipt }) => receipt),
    );
    moved += messages.length;
  }
}

/** How many messages a queue holds, in whatever condition. */
export async function depthOf(world: FlowWorld, address: QueueAddress = { lane: "normal" }): Promise<number> {
  const { visible, delayed, inFlight } = await world.backend.queue.depth(address);
  return visible + delayed + inFlight;
}
