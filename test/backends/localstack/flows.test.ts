import { endpointOf } from "../../support/emulator-backends.ts";
import { describeFlows } from "../../support/flow-suite.ts";

describeFlows({ name: "localstack", endpoint: () => endpointOf("localstack"), movesMessages: true });
