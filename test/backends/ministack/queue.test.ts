import { describeQueueContract } from "../../contract/queue.contract.ts";
import { MINISTACK } from "../../support/emulator-backends.ts";

describeQueueContract(MINISTACK);
