import { defineTask } from "tasklane";
import { runHandler } from "tasklane/testing";
import { expect, test } from "vitest";
import { z } from "zod";

const greet = defineTask({ name: "greet", input: z.object({ name: z.string().trim() }), output: z.string() });
const greetHandler = greet.handle((input, ctx) => `Hello ${input.name}, attempt ${ctx.attempt}`);

test("greets by the trimmed name", async () => {
  expect(await runHandler(greetHandler, { name: " Ada " }, { attempt: 2 })).toBe("Hello Ada, attempt 2");
});
