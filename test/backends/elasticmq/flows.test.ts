import { afterAll } from "vitest";
import { startEmbeddedStack } from "../../../lib/local/embedded-stack.ts";
import { endpointOf } from "../../support/emulator-backends.ts";
import { describeFlows } from "../../support/flow-suite.ts";

const { endpoints, close } = await startEmbeddedStack();
afterAll(close);

describeFlows({
  name: "elasticmq, with ledger and payloads on the embedded stack",
  endpoint: () => ({ ...endpoints, sqs: endpointOf("elasticmq") }),
  movesMessages: true,
});
