import { afterAll } from "vitest";
import { startEmbeddedStack } from "../../lib/local/embedded-stack.ts";
import { describeFlows } from "../support/flow-suite.ts";

const { endpoints, close } = await startEmbeddedStack();
afterAll(close);

describeFlows({ name: "the embedded stack", endpoint: () => endpoints, movesMessages: false });
