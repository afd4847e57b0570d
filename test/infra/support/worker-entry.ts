import { defineTask } from "../../../lib/index.ts";
import type { LambdaWorker } from "../../../lib/lambda/index.ts";
import { createLambdaWorker } from "../../../lib/lambda/index.ts";

const anyInput = {
  "~standard": { version: 1, vendor: "test", validate: (value: unknown) => ({ value }) },
} as const;

const greet = defineTask({ name: "greet", input: anyInput });

export const handler: LambdaWorker = createLambdaWorker({ handlers: [greet.handle(async () => undefined)] });
