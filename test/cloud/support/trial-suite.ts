import type { ScanCommandOutput } from "@aws-sdk/client-dynamodb";
import { DynamoDBClient, ScanCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Lane, TasklaneClient } from "../../../lib/index.ts";
import { LANES } from "../../../lib/index.ts";
import { unmarshalItem } from "../../../lib/aws/dynamo-item.ts";
import type { TaskRecord } from "../../../lib/task/record.ts";
import { ATTRIBUTES, decodeRecord, RECORD_SORT_KEY, taskPartition } from "../../../lib/task/record-codec.ts";
import { Deployment, sdkAt, until } from "./deployment.ts";
import { writtenMetric } from "./written-metrics.ts";
import { double, later, pill, unruly } from "./trial-tasks.ts";

const STACK = "TasklaneTrial";
const TASKS = 2_000;

/** What a trial runs on. */
export interface TrialSite {
  readonly name: string;
  /** None is AWS. */
  readonly endpoint: () => string | undefined;
  /** So many commits may be missing from what the functions wrote to their logs. */
  readonly unwrittenMax: number;
}

/** Deploys queues with real Node functions behind event sources, and sees what comes of many tasks and of bad ones. */
export function describeTrial({ name, endpoint, unwrittenMax }: TrialSite): void {
  describe(`real Node functions behind event sources on ${name}`, () => {
    let deployment: Deployment;
    let trouble: TasklaneClient;

    beforeAll(async () => {
      deployment = new Deployment(endpoint(), name, "test/cloud/support/trial-app.ts");
      await deployment.bootstrap();
      await deployment.deploy();
      trouble = deployment.client(STACK, "Trouble");
    });
    afterAll(async () => {
      await deployment.destroy();
      deployment.close();
    });

    test(`${TASKS} tasks over four lanes: none lost, each committed once`, async () => {
      const client = deployment.client(STACK, "Load");
      const began = Date.now();
      const accepted = await Promise.all(
        LANES.map((lane, place) =>
          client.enqueueMany(
            double,
            Array.from({ length: TASKS / LANES.length }, (_, n) => ({
              input: { n: place * 1_000 + n },
              options: { lane },
            })),
          ),
        ),
      );
      const enqueuedMs = Date.now() - began;
      await until(
        () => backlog(deployment, "Load"),
        (left) => left === 0,
        { withinMs: 180_000, everyMs: 1_500 },
      );
      const drainedMs = Date.now() - began;
      const all = accepted.flatMap((tasks, place) => tasks.map((task, n) => ({ task, n: place * 1_000 + n })));
      const records = await recordsOf(deployment, "Load");
      const starts = records.reduce((sum, { attempts }) => sum + attempts, 0);
      const left = new Map(records.map(({ id, state }) => [id, state]));
      const wrong = all.filter(({ task }) => left.get(task.id) !== "succeeded").map(({ task }) => task.id);
      for (const { task, n } of all.filter((_, at) => at % 20 === 0))
        if ((await task.result()) !== n * 2) wrong.push(`${task.id}: another result`);
      console.log(
        `${TASKS} tasks: enqueued in ${enqueuedMs} ms, drained after ${drainedMs} ms, ${starts} starts, ${wrong.length} wrong`,
      );
      expect(wrong).toEqual([]);
      expect(records).toHaveLength(TASKS);
      // Counted apart from the ledger: a function writes one for each commit of its own, so that a second one would be one too many.
      const commits = await until(
        () => writtenMetric(deployment, STACK, "load", "Succeeded"),
        (written) => written >= TASKS - unwrittenMax,
        { withinMs: 60_000, everyMs: 5_000 },
      );
      expect(commits).toBeLessThanOrEqual(TASKS);
      expect(new Set(all.map(({ task }) => task.id)).size).toBe(TASKS);
    });

    test("a failure in a batch is tried again alone, and a terminal one is dead with its copy", async () => {
      const [good, bad, dead] = await Promise.all([
        trouble.enqueueMany(
          double,
          Array.from({ length: 8 }, (_, n) => ({ input: { n } })),
        ),
        trouble.enqueue(unruly, { failures: 2, terminal: false }),
        trouble.enqueue(unruly, { failures: 0, terminal: true }),
      ]);
      expect(await Promise.all(good.map((task) => task.result({ timeout: "60s" })))).toEqual(good.map((_, n) => n * 2));
      expect(await bad.result({ timeout: "60s" })).toBe(3);
      await expect(dead.result({ timeout: "60s" })).rejects.toMatchObject({ code: "TASK_DEAD" });
      // The neighbours of a failure are not run again for it.
      for (const task of good) expect(await trouble.task(double, task.id).get()).toMatchObject({ attempts: 1 });
      expect(await trouble.task(unruly, bad.id).get()).toMatchObject({ attempts: 3, failures: 2 });
      expect(await trouble.task(unruly, dead.id).get()).toMatchObject({
        state: "dead",
        reason: "TERMINAL",
        attempts: 1,
      });
      await until(
        () => deployment.messages(deployment.topology(STACK, "Trouble").lanes.normal?.dlq),
        (copies) => copies === 1,
        { withinMs: 10_000 },
      );
    });

    test("F06 F09 a function's timeout and an abort each cost their task one crash, and then it succeeds", async () => {
      // In a lane each, which has functions of its own: side by side they would take each other down.
      await Promise.all(
        (
          [
            ["abort", "high"],
            ["spin", "normal"],
          ] as const
        ).map(async ([kind, lane]) => {
          const task = await trouble.enqueue(pill, { kind, attempts: 1 }, { lane });
          expect(await task.result({ timeout: "3m" })).toBe(2);
          expect(await trouble.task(pill, task.id).get()).toMatchObject({ attempts: 2, crashes: 1, failures: 0 });
        }),
      );
    });

    test("a delay beyond SQS's is kept by the ledger, and the deployed scheduler sends it when it is due", async () => {
      const topology = deployment.topology(STACK, "Trouble");
      const task = await trouble.enqueue(later, {}, { delay: "20m" });
      expect(await trouble.task(later, task.id).get()).toMatchObject({ state: "queued", attempts: 0 });
      // Twenty minutes pass: what the record says of the time is moved back by them.
      const now = Date.now();
      await new DynamoDBClient(sdkAt(deployment.endpoint)).send(
        new UpdateItemCommand({
          TableName: topology.table,
          Key: { [ATTRIBUTES.partition]: { S: taskPartition(task.id) }, [ATTRIBUTES.sort]: { S: RECORD_SORT_KEY } },
          UpdateExpression: "SET #notBefore = :now, #owed = :now",
          ConditionExpression: "attribute_exists(#owed)",
          ExpressionAttributeNames: { "#notBefore": ATTRIBUTES.notBefore, "#owed": ATTRIBUTES.owedTime },
          ExpressionAttributeValues: { ":now": { N: String(now) } },
        }),
      );
      expect(await task.result({ timeout: "3m" })).toBe("done");
    });
  });
}

/** The records of all tasks of a queue. Only while it is quiet: a scan takes the emulator's whole attention. */
async function recordsOf(deployment: Deployment, queue: string): Promise<TaskRecord[]> {
  const client = new DynamoDBClient(sdkAt(deployment.endpoint));
  const records: TaskRecord[] = [];
  let ExclusiveStartKey: ScanCommandOutput["LastEvaluatedKey"];
  do {
    const page: ScanCommandOutput = await client.send(
      new ScanCommand({
        TableName: deployment.topology(STACK, queue).table,
        FilterExpression: "begins_with(#partition, :task) AND #sort = :record",
        ExpressionAttributeNames: { "#partition": ATTRIBUTES.partition, "#sort": ATTRIBUTES.sort },
        ExpressionAttributeValues: { ":task": { S: taskPartition("") }, ":record": { S: RECORD_SORT_KEY } },
        ExclusiveStartKey,
      }),
    );
    records.push(...(page.Items ?? []).map((item) => decodeRecord(unmarshalItem(item))));
    ExclusiveStartKey = page.LastEvaluatedKey;
  } while (ExclusiveStartKey !== undefined);
  return records;
}

async function backlog(deployment: Deployment, queue: string): Promise<number> {
  const { lanes } = deployment.topology(STACK, queue);
  const counts = await Promise.all(LANES.map((lane: Lane) => deployment.messages(lanes[lane]?.url)));
  return counts.reduce((sum, value) => sum + value, 0);
}
