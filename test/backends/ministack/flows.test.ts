import { endpointOf } from "../../support/emulator-backends.ts";
import { describeFlows } from "../../support/flow-suite.ts";

describeFlows({ name: "ministack", endpoint: () => endpointOf("ministack"), movesMessages: false });
