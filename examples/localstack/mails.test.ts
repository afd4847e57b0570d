import { createClient, createWorker, provision } from "tasklane";
import { expect, test } from "vitest";
import { endpoint } from "./endpoint.ts";
import { handlers, sendMail } from "./mails.ts";

test("a mail is sent", async () => {
  // A queue of its own for each run: what an earlier one left behind is not in the way.
  const topology = await provision({ queue: `mails-${Date.now()}`, lanes: ["normal"] }, { endpoint });
  const client = createClient({ topology });
  const stop = new AbortController();
  const worker = createWorker({ handlers, topology, log: () => undefined }).run({ signal: stop.signal });
  const task = await client.enqueue(sendMail, { to: "ada@example.com" });
  expect(await task.result({ timeout: "30s" })).toBe("sent to ada@example.com");
  stop.abort();
  await worker;
  await client.close();
}, 40_000);
