import { Buffer } from "node:buffer";
import { zstdCompressSync } from "node:zlib";
import fc from "fast-check";
import { describe, expect, test } from "vitest";
import { z } from "zod";
import { createClient } from "../../lib/client.ts";
import type { TasklaneClient } from "../../lib/client.ts";
import { placePayload } from "../../lib/flow/payload.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";
import { defineTask } from "../../lib/task/define-task.ts";
import { itemBytes } from "../../lib/task/item-size.ts";
import { canonicalJson, utf8Bytes } from "../../lib/task/json.ts";
import {
  COMPRESS_MIN_BYTES,
  ENVELOPE_COPY_MAX_BYTES,
  PAYLOAD_MAX_BYTES,
  RECORD_INPUT_MAX_BYTES,
  SIDE_ITEM_MAX_BYTES,
} from "../../lib/task/limits.ts";
import type { FlowWorld } from "../support/flow-world.ts";
import { flowWorld } from "../support/flow-world.ts";
import { noise, textOfJsonBytes } from "../support/payload-texts.ts";

const carry = defineTask({ name: "carry", input: z.string(), output: z.string() });
const other = defineTask({ name: "other", input: z.string() });

/** A client that never compresses, so that a payload's place depends on its size alone. */
function plainClient(world: FlowWorld): TasklaneClient {
  return createClient({ backend: world.backend, clock: world.clock, random: seededRandom(5), compress: false });
}

const sent = (world: FlowWorld): string[] =>
  world.calls.flatMap(({ verb, target, entry }) =>
    verb === "send" && target === "normal" && entry !== undefined ? [entry] : [],
  );

describe("where a payload lies", () => {
  test.each([
    { at: "record", bytes: RECORD_INPUT_MAX_BYTES - 1 },
    { at: "record", bytes: RECORD_INPUT_MAX_BYTES },
    { at: "side", bytes: RECORD_INPUT_MAX_BYTES + 1 },
    { at: "side", bytes: SIDE_ITEM_MAX_BYTES - 1 },
    { at: "side", bytes: SIDE_ITEM_MAX_BYTES },
    { at: "s3", bytes: SIDE_ITEM_MAX_BYTES + 1 },
    { at: "s3", bytes: ENVELOPE_COPY_MAX_BYTES },
    { at: "s3", bytes: PAYLOAD_MAX_BYTES - 1 },
    { at: "s3", bytes: PAYLOAD_MAX_BYTES },
  ])("is the $at at $bytes bytes of four-byte characters, and it arrives as it was given", async ({ at, bytes }) => {
    const world = await flowWorld();
    const text = textOfJsonBytes(bytes);
    expect(utf8Bytes(canonicalJson(text, "text"))).toBe(bytes);
    const task = await plainClient(world).enqueue(carry, text);
    const { input } = world.record(task.id);
    expect({ at: input.at, bytes: input.at === "record" ? utf8Bytes(input.json) : input.bytes }).toEqual({ at, bytes });
    expect(world.backend.payloads.keys()).toHaveLength(at === "s3" ? 1 : 0);
    let arrived: string | undefined;
    world.worker(
      [
        carry.handle((given) => {
          arrived = given;
          return "done";
        }),
      ],
      { scheduler: false },
    );
    await world.until(() => world.record(task.id).state === "succeeded");
    expect(arrived === text).toBe(true);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("is nowhere beyond 10 MiB: PAYLOAD_TOO_LARGE, with the advice to pass a key, and nothing stored", async () => {
    const world = await flowWorld();
    const from = world.calls.length;
    const error = await world.client.enqueue(carry, textOfJsonBytes(PAYLOAD_MAX_BYTES + 1)).catch((thrown) => thrown);
    expect(error).toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    expect(error.message).toContain(`${PAYLOAD_MAX_BYTES + 1} bytes`);
    expect(error.message).toContain("store it in a bucket of your own and pass its key");
    expect(world.calls.slice(from)).toEqual([]);
    // What counts is the JSON, not the number of characters.
    const many = "\u{1F600}".repeat(PAYLOAD_MAX_BYTES / 4);
    expect(many.length).toBeLessThan(PAYLOAD_MAX_BYTES);
    await expect(world.client.enqueue(carry, many)).rejects.toMatchObject({ code: "PAYLOAD_TOO_LARGE" });
    await world.close();
  });

  test("leaves the record in one write unit, whatever else is in it", async () => {
    const world = await flowWorld({ spec: { lanes: ["critical", "normal"] } });
    const long = defineTask({
      name: `t${"n".repeat(63)}`,
      input: z.string(),
      output: z.string(),
      lane: "critical",
      maxRetries: 1,
      backoff: { initial: "1s", factor: 1, jitter: "none" },
    });
    world.worker(
      [
        long.handle((text) => {
          if (text.startsWith("bad")) throw new Error("\u20ac".repeat(500));
          return text;
        }),
      ],
      { scheduler: false },
    );
    const options = {
      meta: { by: "m".repeat(70) },
      traceparent: `00-${"a".repeat(32)}-${"b".repeat(16)}-01`,
      expires: "1h",
    } as const;
    const ids: string[] = [];
    for (const bytes of [20, 100, 180, 200, 220, 240, 255, 256, 257])
      for (const kind of ["good", "bad"]) {
        const text = `${kind}${noise(bytes - 2 - kind.length, bytes)}`;
        ids.push((await world.client.enqueue(long, text, options)).id);
      }
    await world.until(() => ids.every((id) => ["succeeded", "dead"].includes(world.record(id).state)));
    expect(ids.filter((id) => world.record(id).state === "dead")).toHaveLength(9);
    expect(ids.filter((id) => world.record(id).failures === 2)).toHaveLength(9);
    expect(world.audit.violations).toEqual([]);
    for (const id of ids) expect(itemBytes(world.backend.ledger.recordItem(id) ?? {})).toBeLessThanOrEqual(1_024);
    await world.close();
  });
});

describe("the record of a task that is asked to stop", () => {
  test.each([
    { what: "while it runs", running: true },
    { what: "while it waits", running: false },
  ])("stays in one write unit $what, whatever the reason and the input", async ({ running }) => {
    const world = await flowWorld();
    const long = defineTask({
      name: `t${"n".repeat(63)}`,
      input: z.string(),
      output: z.string(),
      timeout: "1h",
      maxRetries: 3,
    });
    world.worker(
      (host) => [
        long.handle(async (text, ctx) => {
          if (ctx.attempt === 1) throw new Error("m".repeat(2_000));
          await host.pause(60_000, ctx.signal);
          ctx.signal.throwIfAborted();
          return text;
        }),
      ],
      { scheduler: false, concurrency: 100 },
    );
    const ids: string[] = [];
    for (let bytes = 4; bytes <= 260; bytes += 4) {
      const meta = { by: "m".repeat(bytes % 100) };
      const traceparent = `00-${"a".repeat(32)}-${"b".repeat(16)}-01`;
      const options = { meta, traceparent, expires: "2h", delay: running ? "0s" : "1h" } as const;
      ids.push((await world.client.enqueue(long, noise(bytes, bytes), options)).id);
    }
    if (running) await world.until(() => ids.every((id) => world.record(id).attempts === 2));
    await Promise.all(ids.map((id) => world.client.task(long, id).cancel("\u20ac".repeat(100))));
    await world.until(() => ids.every((id) => ["succeeded", "cancelled"].includes(world.record(id).state)));
    expect(world.audit.violations).toEqual([]);
    const { message, state } = await world.client.task(long, ids[0] ?? "").get();
    expect({ message, state }).toEqual({ message: expect.stringContaining("\u20ac\u20ac\u20ac"), state: "cancelled" });
    await world.close();
  });
});

describe("where a result lies", () => {
  test("is the record while it fits, then a side item, then S3, and it comes back as it was", async () => {
    const world = await flowWorld();
    const give = defineTask({ name: "give", input: z.number(), output: z.string() });
    world.worker([give.handle((bytes) => textOfJsonBytes(bytes))], { scheduler: false });
    const sizes = [100, 300, 400, 500, 600, 800, 1_500, 8_191, 8_192, 8_193, 200_000, PAYLOAD_MAX_BYTES];
    const places: string[] = [];
    for (const bytes of sizes) {
      const task = await world.client.enqueue(give, bytes);
      const text = await world.during(task.result({ timeout: "5m" }));
      expect(text === textOfJsonBytes(bytes)).toBe(true);
      places.push(world.record(task.id).output?.at ?? "none");
    }
    expect([...new Set(places)]).toEqual(["record", "side", "s3"]);
    expect(places[0]).toBe("record");
    expect(places.slice(6, 9)).toEqual(["side", "side", "side"]);
    expect(world.audit.violations).toEqual([]);
    await world.close();
  });

  test("is nowhere beyond 10 MiB: the attempt fails, and its task dies of it", async () => {
    const world = await flowWorld();
    const give = defineTask({
      name: "give",
      input: z.number(),
      output: z.string(),
      maxRetries: 1,
      backoff: { initial: "1s", factor: 1 },
    });
    world.worker([give.handle((bytes) => textOfJsonBytes(bytes))], { scheduler: false });
    const task = await world.client.enqueue(give, PAYLOAD_MAX_BYTES + 1);
    await world.until(() => world.record(task.id).state === "dead");
    expect(await task.get()).toMatchObject({
      failures: 2,
      history: [{ code: "OUTPUT_INVALID" }, { code: "OUTPUT_INVALID", message: expect.stringContaining("larger") }],
    });
    await world.close();
  });
});

describe("the copy in the message", () => {
  test.each([
    { what: "ASCII", unit: "a", units: 1 },
    { what: "four-byte characters", unit: "\u{1F600}", units: 12 },
    { what: "quotes and backslashes", unit: '"\\', units: 8 },
  ])("goes along to the last byte that is free, and no further: $what", async ({ unit, units }) => {
    const world = await flowWorld();
    const client = plainClient(world);
    const copyOf = async (count: number): Promise<{ body: string; has: boolean }> => {
      const from = sent(world).length;
      await client.enqueue(carry, unit.repeat(count));
      const body = sent(world)[from] ?? "";
      return { body, has: JSON.parse(body).p !== undefined };
    };
    let [fits, tooMany] = [1, ENVELOPE_COPY_MAX_BYTES];
    while (tooMany - fits > 1) {
      const middle = Math.floor((fits + tooMany) / 2);
      if ((await copyOf(middle)).has) fits = middle;
      else tooMany = middle;
    }
    const last = await copyOf(fits);
    expect(last.body.length).toBe(utf8Bytes(last.body));
    expect(last.body.length).toBeLessThanOrEqual(ENVELOPE_COPY_MAX_BYTES);
    // Some characters are left for what put-backs add; one more of these would have eaten into them.
    expect(last.body.length + units + 100).toBeGreaterThan(ENVELOPE_COPY_MAX_BYTES);
    const first = await copyOf(tooMany);
    expect(first.has).toBe(false);
    expect(first.body.length).toBeLessThan(400);
    await world.close();
  });

  test("never makes a message that is billed twice, however often it is put back", async () => {
    const world = await flowWorld();
    const client = plainClient(world);
    for (const length of [64_900, 65_000, 65_050, 65_100, 65_150, 65_200, 65_250, 65_300])
      await client.enqueue(carry, noise(length));
    // Nobody here knows the task, so that it is deferred again and again.
    world.worker([other.handle(() => undefined)], { scheduler: false });
    await world.advance("10m");
    expect(sent(world).length).toBeGreaterThan(50);
    expect(Math.max(...sent(world).map((body) => body.length))).toBeLessThanOrEqual(ENVELOPE_COPY_MAX_BYTES);
    await world.close();
  });

  test("saves the read of a payload that lies elsewhere", async () => {
    const world = await flowWorld();
    const client = plainClient(world);
    world.worker([carry.handle(() => "done")], { scheduler: false });
    const from = world.calls.length;
    const tasks = [await client.enqueue(carry, noise(5_000)), await client.enqueue(carry, noise(50_000))];
    await world.until(() => tasks.every(({ id }) => world.record(id).state === "succeeded"));
    const verbs = world.calls.slice(from).map(({ verb }) => verb);
    expect(verbs.filter((verb) => verb === "readSides" || verb === "get" || verb === "readMany")).toEqual([]);
    const large = await client.enqueue(carry, noise(90_000));
    await world.until(() => world.record(large.id).state === "succeeded");
    expect(world.calls.filter(({ verb }) => verb === "get")).toHaveLength(1);
    await world.close();
  });
});

describe("compression", () => {
  const id = "i".repeat(32);
  /** What the place of a payload costs to write, by DynamoDB's rules; a put to S3 costs as much as eight units. */
  const unitsOf = (stored: string): number =>
    Math.ceil(itemBytes({ pk: `t#${id}`, sk: `p#${"h".repeat(43)}`, v: stored, x: 1_767_225_600 }) / 1_024);

  test("is used only from 4 KB on", () => {
    const place = (bytes: number) => placePayload(JSON.stringify("a".repeat(bytes - 2)), "d30", 0, true);
    expect(place(COMPRESS_MIN_BYTES - 1).ref).toMatchObject({ at: "side", codec: "json" });
    expect(place(COMPRESS_MIN_BYTES).ref).toMatchObject({ at: "side", codec: "zstd" });
    expect(placePayload(JSON.stringify("a".repeat(9_000)), "d30", 0, false).ref).toMatchObject({
      at: "s3",
      codec: "json",
    });
  });

  test("is used where it saves a unit, and nowhere else", () => {
    let [zstd, json] = [0, 0];
    fc.assert(
      fc.property(
        fc.integer({ min: 3_900, max: 14_000 }),
        fc.double({ min: 0, max: 1, noNaN: true }),
        fc.nat(),
        (bytes, share, seed) => {
          const random = noise(Math.floor((bytes - 2) * share), seed);
          const text = JSON.stringify(random + "a".repeat(bytes - 2 - random.length));
          const { ref, stored } = placePayload(text, "d30", 0, true);
          const isPacked = ref.codec === "zstd";
          if (isPacked) zstd++;
          else json++;
          const saves = ref.bytes > SIDE_ITEM_MAX_BYTES || unitsOf(stored) < unitsOf(text);
          const fits = ref.at === "side" && stored.length <= SIDE_ITEM_MAX_BYTES;
          expect(isPacked ? ref.bytes >= COMPRESS_MIN_BYTES && fits && saves : stored === text).toBe(true);
        },
      ),
      { numRuns: 600, seed: 20_261_124 },
    );
    expect(Math.min(zstd, json)).toBeGreaterThan(50);
  });

  test("counts the whole item: names and keys cost too", () => {
    const bytes = 5_000;
    const lengths = new Set<number>();
    for (let random = 3_000; random < bytes - 2; random++) {
      const text = JSON.stringify(noise(random) + "a".repeat(bytes - 2 - random));
      const packed = zstdCompressSync(text).toString("base64").length;
      // Below 4 KB by itself, and above with what the item has besides.
      if (packed <= 4_004 || packed > 4_096 || lengths.has(packed)) continue;
      lengths.add(packed);
      expect(unitsOf(text)).toBe(5);
      expect(placePayload(text, "d30", 0, true).ref.codec).toBe("json");
    }
    expect(lengths.size).toBeGreaterThan(3);
  });

  test("makes an item of what would be an object, and the text comes back", async () => {
    const world = await flowWorld();
    const text = "so much of the same ".repeat(20_000);
    const task = await world.client.enqueue(carry, text);
    expect(world.record(task.id).input).toMatchObject({
      at: "side",
      codec: "zstd",
      bytes: Buffer.byteLength(text) + 2,
    });
    expect(world.backend.payloads.keys()).toEqual([]);
    let arrived = "";
    world.worker(
      [
        carry.handle((given) => {
          arrived = given;
          return given;
        }),
      ],
      { scheduler: false },
    );
    const result = await world.during(task.result());
    expect(arrived === text && result === text).toBe(true);
    expect(world.record(task.id).output).toMatchObject({ at: "side", codec: "zstd" });
    await world.close();
  });
});
