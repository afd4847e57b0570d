import { UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { makeClients } from "../../lib/aws/clients.ts";
import { connect } from "../../lib/connect.ts";
import { recover } from "../../lib/flow/recover.ts";
import { makeServices } from "../../lib/flow/services.ts";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import type { Clock } from "../../lib/ports/clock.ts";
import { provision } from "../../lib/provision.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { ATTRIBUTES, RECORD_SORT_KEY, taskPartition } from "../../lib/task/record-codec.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { aRecord } from "../support/sample-record.ts";
import { purge, schedulerOf } from "../support/world-scheduler.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 3_600_000;
const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }) });

/** Enqueues a task whose message is not sent, and which is owed one. */
async function enqueueOwed(world: FlowWorld, n: number): Promise<string> {
  const before = world.faults;
  world.faults = ({ verb }) => (verb === "send" ? "refused" : undefined);
  const { id } = await world.client.enqueue(errand, { n });
  world.faults = before;
  expect(world.record(id).owedAt).toBeDefined();
  return id;
}

/** Enqueues a task whose producer dies before it has sent a message, or said that it owes one. */
async function enqueueLost(world: FlowWorld, n: number): Promise<string> {
  const { id } = await world.client.enqueue(errand, { n });
  expect(await purge(world)).toBe(1);
  expect(world.record(id).owedAt).toBeUndefined();
  return id;
}

/** How far the scheduler's passes have come, as it noted it. */
async function cursorsOf(world: FlowWorld): Promise<Record<string, number>> {
  const { value } = await world.backend.ledger.readDocument("scheduler");
  return z.object({ cursors: z.record(z.string(), z.number()) }).parse(JSON.parse(value)).cursors;
}

describe("a step of the scheduler that fails", () => {
  test("the dead letter queue refused from the start keeps neither owed nor lost tasks from being found, and is told", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const owed = await enqueueOwed(world, 1);
    const lost = await enqueueLost(world, 2);
    world.faults = ({ verb, target }) => (verb === "receive" && target === "normal-dlq" ? "refused" : undefined);
    await expect(scheduler.run()).rejects.toThrow(/receive of normal-dlq/);
    expect(scheduler.resent(owed)).toMatchObject([{ because: "owed" }]);
    const first = await cursorsOf(world);
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    await world.until(() => world.record(owed).state === "succeeded", "5m");
    for (let minute = 0; minute < 20; minute++) {
      await world.advance(MINUTE_MS);
      await expect(scheduler.run()).rejects.toThrow(/receive of normal-dlq/);
    }
    const last = await cursorsOf(world);
    expect(last["10m"]).toBeGreaterThanOrEqual((first["10m"] ?? Number.NaN) + 20 * MINUTE_MS);
    expect(scheduler.resent(lost)).toHaveLength(1);
    expect(world.record(lost).state).toBe("succeeded");
    world.faults = undefined;
    await world.advance(MINUTE_MS);
    expect(await scheduler.run()).toMatchObject({ skipped: false });
    await world.close();
  });

  test("an owed record that cannot be read keeps neither lost tasks nor dead letters from being found, and is told", async () => {
    const world = await flowWorld();
    const scheduler = schedulerOf(world);
    const bad = await enqueueOwed(world, 1);
    // Older than what a first walk over the creation index looks at, and younger than what its last pass does.
    await world.advance("2d");
    const lost = await enqueueLost(world, 2);
    await world.backend.queue.send({ lane: "normal", dead: true }, [{ body: "not an envelope" }]);
    world.faults = ({ verb, target }) => (verb === "readMany" && target === bad ? "refused" : undefined);
    await expect(scheduler.run()).rejects.toThrow(`readMany of ${bad}`);
    expect(scheduler.dead()).toMatchObject([{ reason: "UNDECODABLE" }]);
    const first = await cursorsOf(world);
    world.worker([errand.handle(() => undefined)], { scheduler: false });
    for (let minute = 0; minute < 20; minute++) {
      await world.advance(MINUTE_MS);
      await expect(scheduler.run()).rejects.toThrow(`readMany of ${bad}`);
    }
    const last = await cursorsOf(world);
    expect(last["10m"]).toBeGreaterThanOrEqual((first["10m"] ?? Number.NaN) + 20 * MINUTE_MS);
    expect(scheduler.resent(lost)).toHaveLength(1);
    expect(world.record(lost).state).toBe("succeeded");
    world.faults = undefined;
    await world.advance(MINUTE_MS);
    expect(await scheduler.run()).toMatchObject({ skipped: false, owed: 1, resent: 1 });
    await world.until(() => world.record(bad).state === "succeeded", "5m");
    await world.close();
  });

  test("a record of a later version in DynamoDB is left out, and its neighbours on the page are sent", async () => {
    const stack = await startEmbeddedStack();
    const endpoint = stack.endpoints;
    const topology = await provision({ queue: "later", lanes: ["normal"] }, { endpoint, region: "us-east-1" });
    const { backend, clock, random } = await connect(topology, undefined);
    const services = makeServices({ backend, clock, random });
    const now = clock.now();
    const records = Array.from({ length: 12 }, () => aRecord({ owedAt: now - 1_000 }));
    await backend.ledger.recordMany(records, now);
    const [bad, ...good] = records;
    if (bad === undefined) throw new Error("no record");
    const clients = makeClients({ endpoint, region: "us-east-1" });
    await clients.dynamodb.send(
      new UpdateItemCommand({
        TableName: topology.table,
        Key: { pk: { S: taskPartition(bad.id) }, sk: { S: RECORD_SORT_KEY } },
        UpdateExpression: "SET #state = :paused",
        ExpressionAttributeNames: { "#state": ATTRIBUTES.state },
        ExpressionAttributeValues: { ":paused": { S: "paused" } },
      }),
    );
    expect(await recover(services, { holder: "here" })).toMatchObject({ owed: good.length, resent: good.length });
    backend.close();
    clients.close();
    await stack.close();
  });
});

describe("F27 a host whose clock is six hours ahead", () => {
  const aheadOf = (clock: Clock): Clock => ({
    now: () => clock.now() + 6 * HOUR_MS,
    monotonic: () => clock.monotonic(),
    timer: (ms, callback) => clock.timer(ms, callback),
  });

  test.for([
    { how: "ran once", dies: false },
    { how: "died in the middle of its run", dies: true },
  ])("and that $how does not stop the scheduler for the others", async ({ dies }) => {
    const world = await flowWorld();
    const host = world.newHost();
    if (dies)
      host.onCall = ({ verb, phase }) => {
        if (verb === "writeDocument" && phase === "after") host.kill();
      };
    const clock = aheadOf(world.clock);
    const services = makeServices({ backend: host.reach(world.backend), clock, random: seededRandom(9) });
    const run = recover(services, { holder: "ahead" });
    if (!dies) await world.during(run, "10m");
    await world.settle();
    expect(host.isDead).toBe(dies);
    expect((await world.backend.ledger.readDocument("scheduler")).version).toBe(dies ? 1 : 2);

    const from = world.clock.now();
    world.worker([errand.handle(() => undefined)]);
    const { id } = await world.client.enqueue(errand, { n: 1 }, { delay: "20m" });
    await world.until(() => world.record(id).state === "succeeded", "12h");
    expect(world.clock.now() - from).toBeGreaterThanOrEqual(20 * MINUTE_MS);
    expect(world.clock.now() - from).toBeLessThanOrEqual(20 * MINUTE_MS + 5_000);
    await world.close();
  });

  // The cursors of the host ahead stand six hours in the future: the others must not wait for them.
  test("and that ran once does not keep a lost message from being found within the hour", async () => {
    const world = await flowWorld();
    const random = seededRandom(9);
    const ahead = makeServices({ backend: world.backend, clock: aheadOf(world.clock), random });
    await world.during(recover(ahead, { holder: "ahead" }), "10m");
    const lost = await enqueueLost(world, 1);
    world.worker([errand.handle(() => undefined)]);
    await world.advance("1h");
    expect(world.record(lost).state).toBe("succeeded");
  });
});
