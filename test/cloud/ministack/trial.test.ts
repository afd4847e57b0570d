import { endpointOf } from "../../support/emulator-backends.ts";
import { describeTrial } from "../support/trial-suite.ts";

// MiniStack may lose what a function wrote in its last invocation: ten tasks in two environments for each of four lanes.
describeTrial({ name: "ministack", endpoint: () => endpointOf("ministack"), unwrittenMax: 80 });
