import { DynamoDBClient, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { S3Client } from "@aws-sdk/client-s3";
import { SendMessageCommand, SQSClient } from "@aws-sdk/client-sqs";
import { afterAll, beforeAll, describe, expect, test } from "vitest";
import { archiveOrders } from "../../../examples/shop/nightly.ts";
import { readOrders } from "../../../examples/shop/orders.ts";
import type { TasklaneClient } from "../../../lib/index.ts";
import { createClient } from "../../../lib/index.ts";
import { ATTRIBUTES, RECORD_SORT_KEY, taskPartition } from "../../../lib/task/record-codec.ts";
import { endpointOf } from "../../support/emulator-backends.ts";
import { add, drowsy, echo, endless, hopeless, paced, parent, shaky } from "../../support/flow-tasks.ts";
import type { InterferingProxy } from "../../support/interfering-proxy.ts";
import { startProxy } from "../../support/interfering-proxy.ts";
import { noise } from "../../support/payload-texts.ts";
import { Deployment, sdkAt, until } from "../support/deployment.ts";
import { byHttp } from "../support/shop-door.ts";
import type { Permission } from "../support/recorded-permissions.ts";
import { permissionsOf } from "../support/recorded-permissions.ts";
import type { RolePolicies } from "../support/role-policies.ts";
import { isAllowed, withoutAction } from "../support/role-policies.ts";

const SHOP = "TasklaneShop";
const ROLES = "TasklaneRoles";
const WAIT = { timeout: "90s" } as const;

describe("least privilege on ministack", () => {
  let deployment: Deployment;
  let recorder: InterferingProxy;
  let policies: RolePolicies;

  beforeAll(async () => {
    recorder = await startProxy(endpointOf("ministack"));
    deployment = new Deployment(endpointOf("ministack"), "ministack", "test/cloud/support/privilege-app.ts", {
      recorder: recorder.url,
    });
    await deployment.bootstrap();
    await deployment.deploy();
    policies = Object.fromEntries(
      (
        await Promise.all([SHOP, ROLES].map(async (stack) => [stack, await deployment.rolePolicies(stack)] as const))
      ).flatMap(([stack, roles]) =>
        Object.entries(roles).map(([role, allowances]) => [`${stack}.${role}`, allowances]),
      ),
    );
  });
  afterAll(async () => {
    await deployment.destroy();
    deployment.close();
    await recorder.close();
  });

  /** The full name of a role, by the beginning of its own. */
  function roleNamed(stack: string, name: string): string {
    const found = Object.keys(policies).find((role) => role.startsWith(`${stack}.${name}`));
    if (found === undefined) throw new Error(`${stack} has no role ${name}: ${Object.keys(policies).join(", ")}`);
    return found;
  }

  /** A client that has one grant, and whose calls are recorded under its name. */
  function clientWith(grant: string): TasklaneClient {
    const options = { ...sdkAt(recorder.url), userAgentAppId: roleNamed(ROLES, grant) };
    return createClient({
      topology: deployment.topology(ROLES, "Tasks"),
      sdk: {
        sqs: new SQSClient({ ...options, useQueueUrlAsEndpoint: false }),
        dynamodb: new DynamoDBClient(options),
        s3: new S3Client({ ...options, forcePathStyle: true }),
      },
    });
  }

  async function runScheduler(stack: string): Promise<void> {
    const name = await deployment.resource(stack, "TasksScheduler", "AWS::Lambda::Function");
    const { FunctionError } = await new LambdaClient(sdkAt(deployment.endpoint)).send(
      new InvokeCommand({ FunctionName: name, Payload: "{}" }),
    );
    expect(FunctionError).toBeUndefined();
  }

  test("the shop's functions do all that they do", async () => {
    const orders = readOrders(new URL("../../../examples/shop/orders.csv", import.meta.url));
    const order = await byHttp(deployment, "POST", "/orders", JSON.stringify(orders[0]));
    const day = { day: "2026-11-23", orders: archiveOrders(orders.slice(0, 60)) };
    const nightly = await byHttp(deployment, "POST", "/exports", JSON.stringify(day));
    expect([order.status, nightly.status]).toEqual([202, 202]);
    const bucket = deployment.output(SHOP, "ArtifactsBucket");
    await until(
      () => deployment.keys(bucket),
      (keys) => keys.length === 4,
      { withinMs: 90_000 },
    );
    const state = await byHttp(deployment, "GET", `/tasks/nightly-export/${nightly.body.id}`);
    expect(state).toMatchObject({ status: 200, body: { state: "succeeded" } });
  });

  test("tasks go every way that a task can go, by clients that have one grant each", async () => {
    const producer = clientWith("enqueue");
    const reader = clientWith("read");
    const operator = clientWith("operate");
    const delayed = await producer.enqueue(add, { a: 20, b: 20 }, { delay: "20m" });
    const waiting = await producer.enqueue(add, { a: 30, b: 30 }, { delay: "10m", lane: "high" });
    const running = await producer.enqueue(endless, {}, { lane: "high" });
    const dead = [
      await producer.enqueue(hopeless, { mended: false, text: noise(100_000) }),
      await producer.enqueue(hopeless, { mended: false }),
    ];
    const good = await Promise.all([
      producer.enqueue(add, { a: 1, b: 2 }),
      producer.enqueue(echo, { text: noise(4_000) }),
      producer.enqueue(echo, { text: noise(300_000) }),
      producer.enqueue(shaky, { failures: 1 }),
      producer.enqueue(drowsy, { snoozes: 1 }),
      producer.enqueue(parent, { n: 3 }),
    ]);
    const many = await producer.enqueueMany(
      paced,
      Array.from({ length: 8 }, (_, n) => ({ input: { n } })),
    );
    expect(await producer.enqueue(add, { a: 1, b: 2 })).toMatchObject({ duplicate: true });

    // What the grant to enqueue does not cover is read with the grant to read.
    expect(await reader.task(add, good[0].id).result(WAIT)).toBe(3);
    for (const { id } of [good[1], good[2]]) await reader.task(echo, id).result(WAIT);
    for (const { id } of [good[3], good[4]]) expect(await reader.task(shaky, id).result(WAIT)).toEqual({ attempt: 2 });
    expect(await reader.task(add, await reader.task(parent, good[5].id).result(WAIT)).result(WAIT)).toBe(4);
    for (const [n, { id }] of many.entries()) expect(await reader.task(paced, id).result(WAIT)).toBe(n);
    for (const { id } of dead)
      await expect(reader.task(hopeless, id).result(WAIT)).rejects.toMatchObject({ code: "TASK_DEAD" });
    expect(await reader.task(shaky, good[3].id).get()).toMatchObject({ failures: 1, history: [{ attempt: 1 }] });
    expect(await idsOf(reader.list({ state: "dead" }))).toEqual(new Set(dead.map(({ id }) => id)));
    expect(await idsOf(reader.list({ task: "echo" }))).toEqual(new Set([good[1].id, good[2].id]));

    expect(await operator.task(add, waiting.id).cancel("not needed")).toBe("cancelled");
    expect(await operator.task(endless, running.id).cancel("enough")).toBe("running");
    await expect(operator.task(endless, running.id).result(WAIT)).rejects.toMatchObject({ code: "TASK_CANCELLED" });
    for (const { id } of dead) {
      await operator.task(hopeless, id).redrive({ input: { mended: true, text: noise(90_000, 2) } });
      expect(await operator.task(hopeless, id).result(WAIT)).toBe("mended");
    }

    await comeDue(delayed.id);
    await putInDeadLetters("no envelope of ours");
    for (const stack of [SHOP, ROLES]) await runScheduler(stack);
    expect(await operator.task(add, delayed.id).result(WAIT)).toBe(40);
    expect((await idsOf(operator.list({ state: "dead" }))).size).toBe(1);
  });

  test("each call that was made is one that its role allows", () => {
    const needs = needsOf(recorder);
    const perRole = Map.groupBy(needs, ({ role }) => role);
    for (const [role, calls] of perRole) console.log(`${role}: ${calls.length} calls, ${distinct(calls).length} kinds`);
    const roles = ["ProducerServiceRole", "TasksSchedulerRole", "TasksWorkerRole"].map((name) => roleNamed(SHOP, name));
    roles.push(
      ...["TasksSchedulerRole", "TasksWorkerRole", "enqueue", "operate", "read"].map((name) => roleNamed(ROLES, name)),
    );
    expect([...perRole.keys()].toSorted()).toEqual(roles.toSorted());
    expect(refusedOf(needs, policies)).toEqual([]);
  });

  test("a policy that lacks one of the actions that were needed is found out, whichever it is", () => {
    const needs = needsOf(recorder);
    const kinds = distinct(needs);
    for (const { role, action } of kinds) {
      const lacking = withoutAction(policies[role] ?? [], action);
      expect(refusedOf(needs, { ...policies, [role]: lacking })).toContain(`${role} ${action}`);
    }
    expect(kinds.length).toBeGreaterThan(30);
  });

  test("a policy whose resources are another stack's allows none of these calls", () => {
    const elsewhere = Object.entries(policies).map(([role, allowances]) => [
      role,
      allowances.map((each) => ({ ...each, resources: each.resources.map((arn) => arn.replace(/[^:/]+/g, "$&x")) })),
    ]);
    const needs = needsOf(recorder);
    expect(refusedOf(needs, Object.fromEntries(elsewhere)).length).toBe(distinct(needs).length);
  });

  /** Twenty minutes pass for a task: what its record says of the time is moved back by them. */
  async function comeDue(id: string): Promise<void> {
    const { table } = deployment.topology(ROLES, "Tasks");
    await new DynamoDBClient(sdkAt(deployment.endpoint)).send(
      new UpdateItemCommand({
        TableName: table,
        Key: { [ATTRIBUTES.partition]: { S: taskPartition(id) }, [ATTRIBUTES.sort]: { S: RECORD_SORT_KEY } },
        UpdateExpression: "SET #notBefore = :now, #owed = :now",
        ConditionExpression: "attribute_exists(#owed)",
        ExpressionAttributeNames: { "#notBefore": ATTRIBUTES.notBefore, "#owed": ATTRIBUTES.owedTime },
        ExpressionAttributeValues: { ":now": { N: String(Date.now()) } },
      }),
    );
  }

  async function putInDeadLetters(body: string): Promise<void> {
    const QueueUrl = deployment.topology(ROLES, "Tasks").lanes.normal?.dlq;
    await new SQSClient(sdkAt(deployment.endpoint)).send(new SendMessageCommand({ QueueUrl, MessageBody: body }));
  }
});

function needsOf(recorder: InterferingProxy): Permission[] {
  return recorder.calls.flatMap(permissionsOf);
}

/** The calls that no policy allows, by role and action. */
function refusedOf(needs: readonly Permission[], policies: RolePolicies): string[] {
  const refused = needs.filter((need) => !isAllowed(policies[need.role] ?? [], need));
  return [...new Set(refused.map(({ role, action }) => `${role} ${action}`))];
}

/** One call of each role and action. */
function distinct(needs: readonly Permission[]): Permission[] {
  return [...new Map(needs.map((need) => [`${need.role} ${need.action}`, need])).values()];
}

async function idsOf(records: AsyncIterable<{ readonly id: string }>): Promise<Set<string>> {
  const ids = new Set<string>();
  for await (const { id } of records) ids.add(id);
  return ids;
}
