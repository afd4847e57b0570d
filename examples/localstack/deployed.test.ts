import "./stage.ts";
import { createClient } from "tasklane";
import { expect, test } from "vitest";
import { sendMail } from "./mails.ts";

test("a deployed worker sends a mail", async () => {
  const client = createClient(); // finds the stack in TASKLANE_TOPOLOGY=outputs.json
  const task = await client.enqueue(sendMail, { to: "ada@example.com" });
  expect(await task.result({ timeout: "60s" })).toBe("sent to ada@example.com");
  await client.close();
}, 90_000);
