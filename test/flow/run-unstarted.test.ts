import { describe, expect, test } from "vitest";
import { z } from "zod";
import { defineTask } from "../../lib/task/define-task.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise } from "../support/payload-texts.ts";

const heavy = defineTask({ name: "heavy", input: z.object({ text: z.string() }) });
describe("an attempt that is ended while its input is read", () => {
  test("never starts its handler: cancelled", async () => {
    const world = await flowWorld();
    let arrive: () => void = () => undefined;
    const held = new Promise<undefined>((resolve) => {
      arrive = () => resolve(undefined);
    });
    world.faults = ({ verb }) => (verb === "get" ? held : undefined);
    world.worker([heavy.handle(() => "never")]);
    const task = await world.client.enqueue(heavy, { text: noise(90_000) });
    await world.until(() => world.record(task.id).state === "running");
    await task.cancel("not needed");
    // Seen at the next renewal: it is over while the bytes are still on their way, and stays so when they come.
    await world.advance("40s");
    expect(world.record(task.id)).toMatchObject({ state: "cancelled" });
    arrive();
    await world.advance("1m");
    expect(world.record(task.id)).toMatchObject({ state: "cancelled" });
    expect(world.of("attempt-started", task.id)).toEqual([]);
    expect(world.record(task.id).attempts).toBe(0);
    await world.close();
  });
});

describe("a child of an attempt whose lease may be over", () => {
  const child = defineTask({ name: "child", input: z.object({}) });
  const parent = defineTask({ name: "parent", input: z.object({}), timeout: "2h", maxRetries: 0 });

  test("is not made while the ledger does not tell whether it is", async () => {
    const world = await flowWorld();
    const errors: unknown[] = [];
    world.worker((host) => [
      parent.handle(async (_input, ctx) => {
        world.faults = ({ verb }) => (verb === "renewMany" ? "refused" : undefined);
        await host.pause(60_000, ctx.signal);
        await ctx.enqueue(child, {}).catch((error: unknown) => errors.push(error));
        world.faults = () => undefined;
      }),
      child.handle(() => undefined),
    ]);
    const { id } = await world.client.enqueue(parent, {});
    await world.until(() => world.record(id).state === "succeeded", "10m");
    expect(errors).toMatchObject([{ code: "BACKEND_UNAVAILABLE" }]);
    expect(world.audit.records.size).toBe(1);
    await world.close();
  });
});
