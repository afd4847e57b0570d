import { expect, test } from "vitest";
import { z } from "zod";
import { defineRateLimit } from "../../lib/task/define-rate-limit.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";
import { worstBreach } from "../support/rate-property.ts";

const HOUR_MS = 3_600_000;

test("a second life of the same key and input still finds its payload in S3, though the first object ends before it starts", async () => {
  const world = await flowWorld();
  const carry = defineTask({
    name: "carry",
    input: z.object({ key: z.string(), data: z.string() }),
    idempotencyKey: ({ key }) => key,
    retention: "1d",
    maxLifetime: "5d",
  });
  const seen: number[] = [];
  const handlers = [carry.handle(({ data }) => void seen.push(data.length))];
  const worker = world.worker(handlers);
  const input = { key: "same", data: noise(60_000) };
  const first = await world.client.enqueue(carry, input);
  await world.until(() => world.record(first.id).state === "succeeded");
  // Nobody polls through the weeks in which nothing happens.
  worker.stop();
  await worker.ended;
  const keys = world.backend.payloads.keys();
  expect(keys).toHaveLength(1);
  // The first life's object lives thirty days: two are left when the second life begins, and it starts after four.
  await world.advance("28d");
  const second = await world.client.enqueue(carry, input, { delay: "4d" });
  expect(second).toMatchObject({ id: first.id, duplicate: false });
  expect(world.backend.payloads.keys()).toEqual(keys);
  await world.advance("4d");
  world.worker(handlers);
  await world.until(() => world.record(second.id).state !== "queued", "10m");
  await world.advance("1m");
  expect(await second.get()).toMatchObject({ state: "succeeded", attempts: 1, failures: 0 });
  expect(seen).toEqual([60_000, 60_000]);
  await world.close();
});

test.for([1, 4])(
  "a rate limit of one an hour is not forgotten by TTL while %i workers are redeployed",
  async (count) => {
    // DynamoDB may delete an item as soon as its time is over.
    const world = await flowWorld({ ttlLagMs: 0 });
    const hourly = defineTask({
      name: "hourly",
      input: z.object({ n: z.number() }),
      rateLimit: defineRateLimit({ name: "hourly", limit: 1, per: "1h" }),
    });
    const starts: number[] = [];
    const handlers = [hourly.handle(() => void starts.push(world.clock.now()))];
    for (let n = 0; n < 20; n++) await world.client.enqueue(hourly, { n });
    let workers = Array.from({ length: count }, () => world.worker(handlers));
    for (let deploy = 0; deploy < 18; deploy++) {
      await world.advance("10m");
      for (const worker of workers) worker.stop();
      await world.advance("30s");
      workers = Array.from({ length: count }, () => world.worker(handlers));
    }
    expect(worstBreach(starts, { limit: 1, perMs: HOUR_MS, burst: 1 })).toBeUndefined();
    expect(starts.length).toBeGreaterThanOrEqual(2);
    await world.close();
  },
);
