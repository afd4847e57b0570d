import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createClient } from "../../lib/client.ts";
import { createLambdaWorker } from "../../lib/lambda/index.ts";
import { provision } from "../../lib/provision.ts";
import { createScheduler } from "../../lib/scheduler.ts";
import { createMemoryQueue, startLocal } from "../../lib/testing/index.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { EnqueueManyError } from "../../lib/task/errors.ts";
import type { EnqueueEntry } from "../../lib/task/task-ref.ts";
import { createWorker } from "../../lib/worker.ts";
import type { Duration } from "../../lib/task/duration.ts";
import { flowWorld } from "../support/flow-world.ts";

const errand = defineTask({ name: "errand", input: z.object({ n: z.number() }) });
type Entry = EnqueueEntry<typeof errand>;

const unreadable: Record<string, () => Entry> = {
  // As a caller without types may give it.
  "that is undefined": () => Reflect.get({}, "nothing") as Entry,
  "whose input is a getter that throws": () => ({
    get input(): { n: number } {
      throw new Error("boom");
    },
  }),
  "whose meta has a getter that throws": () => ({
    input: { n: 0 },
    options: {
      meta: {
        get reason(): string {
          throw new Error("boom");
        },
      },
    },
  }),
};

describe("an entry of enqueueMany", () => {
  test.for(
    Object.keys(unreadable).flatMap((what) => [
      { what, place: 1, where: "the first chunk" },
      { what, place: 270, where: "a later chunk" },
    ]),
  )("$what is refused alone, in $where", async ({ what, place }) => {
    const world = await flowWorld();
    const entries = Array.from({ length: 300 }, (_, n): Entry => ({ input: { n } }));
    const bad = unreadable[what];
    if (bad === undefined) throw new Error("no such entry");
    entries[place] = bad();
    const error: unknown = await world.client.enqueueMany(errand, entries).catch((thrown: unknown) => thrown);
    if (!(error instanceof EnqueueManyError)) throw new Error(`It was not refused as a batch: ${String(error)}`);
    expect(error).toMatchObject({ code: "ENQUEUE_MANY_FAILED" });
    expect(error.failed.map(({ index }) => index)).toEqual([place]);
    expect(error.accepted.map(({ index }) => index)).toEqual([...entries.keys()].filter((index) => index !== place));
    const ran: number[] = [];
    world.worker([errand.handle(({ n }) => void ran.push(n))], { concurrency: 100 });
    await world.until(() => ran.length === 299, "10m");
    expect(ran.sort((one, next) => one - next)).toEqual([...entries.keys()].filter((n) => n !== place));
    await world.close();
  });
});

describe("a lease", () => {
  const handlers = [errand.handle(() => undefined)];

  test.for<Duration>(["13h", "365d", "61m", "999ms"])("of %s is refused at once", (lease) => {
    expect(() => createWorker({ handlers, lease })).toThrow(
      expect.objectContaining({ code: "OPTION_INVALID", message: expect.stringContaining("lease") }),
    );
  });

  test.for<Duration>(["1s", "30s", "1h"])("of %s is taken", (lease) => {
    expect(() => createWorker({ handlers, lease })).not.toThrow();
  });
});

describe("a mistake that types find where they are checked", () => {
  const client = createClient({ topology: { queue: "q", lanes: {}, table: "t", bucket: "b" } });
  const loose = <Options>(options: unknown): Options => options as Options;

  test.each<[string, () => unknown]>([
    ["a client's misspelt option", () => createClient(loose({ topolgy: {} }))],
    ["a list's misspelt option", () => client.list(loose({ stat: "dead" }))],
    ["a state that is none", () => client.list({ state: loose("failed") })],
    ["a worker without options", () => createWorker(loose(undefined))],
    ["a worker without handlers", () => createWorker({ handlers: [] })],
    ["a function without options", () => createLambdaWorker(loose(undefined))],
    ["a scheduler's misspelt option", () => createScheduler(loose({ maxResend: 1 }))],
    ["a memory queue's misspelt option", () => createMemoryQueue(loose({ handler: [] }))],
  ])("is refused at once: %s", (_what, call) => {
    expect(call).toThrow(expect.objectContaining({ code: "OPTION_INVALID" }));
  });

  test("is refused by enqueueMany, and not taken for an empty list", async () => {
    const world = await flowWorld();
    await expect(world.client.enqueueMany(errand, loose({ input: { n: 1 } }))).rejects.toMatchObject({
      code: "OPTION_INVALID",
    });
    await world.close();
  });

  test("is refused by enqueueMany for each entry that has no input", async () => {
    const world = await flowWorld();
    const error: unknown = await world.client
      .enqueueMany(errand, [{ input: { n: 1 } }, loose({ n: 2 }), loose(3)])
      .catch((thrown: unknown) => thrown);
    expect(error).toMatchObject({
      accepted: [{ index: 0 }],
      failed: [
        {
          index: 1,
          error: { code: "OPTION_INVALID", message: expect.stringMatching(/no input.*\["n"\].*\{ input \}/s) },
        },
        { index: 2, error: { code: "OPTION_INVALID" } },
      ],
    });
    await world.close();
  });

  test("is told of with its own fix, where it is that of every entry", async () => {
    const world = await flowWorld();
    await expect(world.client.enqueueMany(errand, loose([{ n: 1 }, { n: 2 }]))).rejects.toMatchObject({
      code: "ENQUEUE_MANY_FAILED",
      fix: expect.stringContaining("inputs.map((input) => ({ input }))"),
    });
    await world.close();
  });

  test("is refused by result(), and by startLocal() before anything starts", async () => {
    const world = await flowWorld();
    const task = await world.client.enqueue(errand, { n: 1 });
    await expect(task.result(loose({ timeuot: "1s" }))).rejects.toMatchObject({ code: "OPTION_INVALID" });
    await expect(startLocal(loose({ handler: [] }))).rejects.toMatchObject({ code: "OPTION_INVALID" });
    await world.close();
  });

  test("is refused by provision() before anything is created", async () => {
    await expect(provision(loose({ queueName: "mail" }))).rejects.toMatchObject({ code: "DEFINITION_INVALID" });
    await expect(provision({}, loose({ endpiont: "http://127.0.0.1" }))).rejects.toMatchObject({
      code: "OPTION_INVALID",
    });
    for (const endpoint of ["localhost:4566", "", loose<string>({ sqs: "http://127.0.0.1:1", dynamodb: "x" })])
      await expect(provision({}, { endpoint })).rejects.toThrow(/OPTION_INVALID.*endpoint.*http:\/\//);
  });
});
