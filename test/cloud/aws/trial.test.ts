import { askForAws } from "../../support/aws-account.ts";
import { describeTrial } from "../support/trial-suite.ts";

askForAws("two queues with their functions, for some minutes, and 2,000 tasks", 0.02);
describeTrial({ name: "AWS", endpoint: () => undefined, unwrittenMax: 0 });
