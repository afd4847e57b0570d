import { afterAll, beforeAll, describe, expect, test } from "vitest";
import type { Payloads } from "../../lib/ports/payloads.ts";
import { PAYLOAD_MAX_BYTES } from "../../lib/task/limits.ts";
import type { ContractBackend } from "../support/contract-backends.ts";
import { testWhere } from "../support/contract-backends.ts";
import type { ContractStack } from "../support/contract-stack.ts";

/** What every payloads adapter must do. */
export function describePayloadsContract({ name, gaps, open }: ContractBackend): void {
  describe(`the payloads contract on ${name}`, () => {
    let stack: ContractStack;
    let payloads: Payloads;

    beforeAll(async () => {
      stack = await open({ lanes: ["normal"] });
      payloads = stack.backend.payloads;
    });
    afterAll(() => stack.close());

    const bytesOf = (text: string): Uint8Array => new TextEncoder().encode(text);
    const textIn = (bytes: Uint8Array | undefined): string | undefined =>
      bytes === undefined ? undefined : new TextDecoder().decode(bytes);

    test("gives back the bytes that were stored", async () => {
      const bytes = Uint8Array.from({ length: 512 }, (_, place) => place % 256);
      await payloads.put("d30/task-bytes/hash", bytes);
      expect(await payloads.get("d30/task-bytes/hash")).toEqual(bytes);
    });

    test("keeps an empty object, which is not a missing one", async () => {
      await payloads.put("d30/task-empty/hash", new Uint8Array());
      expect(await payloads.get("d30/task-empty/hash")).toEqual(new Uint8Array());
    });

    test("keeps the largest payload", async () => {
      const bytes = new Uint8Array(PAYLOAD_MAX_BYTES).fill(0x41);
      bytes[PAYLOAD_MAX_BYTES - 1] = 0x42;
      await payloads.put("d400/task-large/hash", bytes);
      const found = await payloads.get("d400/task-large/hash");
      expect(found?.length).toBe(PAYLOAD_MAX_BYTES);
      expect(Buffer.compare(found ?? new Uint8Array(), bytes)).toBe(0);
    });

    test("F25 answers undefined for an object that is not there", async () => {
      expect(await payloads.get("d30/task-none/hash")).toBeUndefined();
      await payloads.put("d30/task-neighbour/hash", bytesOf("x"));
      expect(await payloads.get("d30/task-neighbour")).toBeUndefined();
      expect(await payloads.get("d30/task-neighbour/hash/")).toBeUndefined();
      expect(await payloads.get("d100/task-neighbour/hash")).toBeUndefined();
    });

    test("takes the characters of hashes in keys", async () => {
      const keys = ["d30/task-keys/AZaz09_-", "d30/task-keys/azAZ09-_", "d30/task-keys/7"];
      await Promise.all(keys.map((key) => payloads.put(key, bytesOf(key))));
      expect((await Promise.all(keys.map((key) => payloads.get(key)))).map(textIn)).toEqual(keys);
    });

    test("storing twice is no error", async () => {
      for (let time = 0; time < 2; time++) await payloads.put("d30/task-twice/hash", bytesOf("same"));
      expect(textIn(await payloads.get("d30/task-twice/hash"))).toBe("same");
    });

    test("one of many at once is stored, whole", async () => {
      const texts = Array.from({ length: 12 }, (_, place) => `writer ${place} `.repeat(2_000));
      await Promise.all(texts.map((text) => payloads.put("d30/task-race/hash", bytesOf(text))));
      expect(texts).toContain(textIn(await payloads.get("d30/task-race/hash")));
    });

    testWhere(!gaps.ignoresIfNoneMatch)("never overwrites what is there", async () => {
      await payloads.put("d30/task-first/7", bytesOf("first"));
      await payloads.put("d30/task-first/7", bytesOf("second"));
      expect(textIn(await payloads.get("d30/task-first/7"))).toBe("first");
    });

    test("writes over what is there, or where nothing is, if it is to renew", async () => {
      await payloads.put("d30/task-renew/hash", bytesOf("spoilt"));
      await payloads.put("d30/task-renew/hash", bytesOf("whole again"), { renew: true });
      expect(textIn(await payloads.get("d30/task-renew/hash"))).toBe("whole again");
      await payloads.put("d30/task-renew/other", bytesOf("new"), { renew: true });
      expect(textIn(await payloads.get("d30/task-renew/other"))).toBe("new");
    });

    test("is touched by nothing that is done to the bytes outside", async () => {
      const bytes = bytesOf("mine");
      await payloads.put("d30/task-copy/hash", bytes);
      bytes.fill(0);
      (await payloads.get("d30/task-copy/hash"))?.fill(0);
      expect(textIn(await payloads.get("d30/task-copy/hash"))).toBe("mine");
    });
  });
}
