import { describeDifferences } from "../../support/difference-suite.ts";
import { endpointOf } from "../../support/emulator-backends.ts";

describeDifferences("elasticmq", () => ({ endpoint: endpointOf("elasticmq") }));
