import middy from "@middy/core";
import type { Context, SQSBatchResponse, SQSEvent, SQSHandler } from "aws-lambda";
import { defineRateLimit } from "tasklane";
import { idempotency, partialBatchResponse, rateLimit, visibilityHeartbeat } from "tasklane/lambda";
import { expect, expectTypeOf, test } from "vitest";

const limit = defineRateLimit({ name: "smtp", limit: 5 });
const all = [
  visibilityHeartbeat(),
  rateLimit({ limit, table: "limits" }),
  idempotency({ table: "keys", key: (record) => record.body }),
  partialBatchResponse(),
];

test("the chain takes any plain SQS handler, and stays one", () => {
  const reporting: SQSHandler = async () => ({ batchItemFailures: [] });
  const settling = async (event: SQSEvent): Promise<PromiseSettledResult<string>[]> =>
    Promise.allSettled(event.Records.map(async ({ body }) => body));
  const silent = async (event: SQSEvent, context: Context): Promise<void> =>
    void event.Records.map(({ awsRegion }) => context.functionName + awsRegion);

  const one = middy(reporting).use(all);
  const two = middy(settling).use(visibilityHeartbeat()).use(partialBatchResponse());
  const three = middy(silent).use([partialBatchResponse()]);
  const four = middy<SQSEvent, SQSBatchResponse>()
    .use(all)
    .handler(async () => ({ batchItemFailures: [] }));
  expectTypeOf(one).parameter(0).toExtend<SQSEvent>();
  expectTypeOf<SQSEvent>().toExtend<Parameters<typeof two>[0]>();
  expectTypeOf<SQSEvent>().toExtend<Parameters<typeof three>[0]>();
  expectTypeOf<Context>().toExtend<Parameters<typeof three>[1]>();
  expectTypeOf<SQSEvent>().toExtend<Parameters<typeof one>[0]>();
  expect([one, two, three, four].every((handler) => typeof handler === "function")).toBe(true);
});
