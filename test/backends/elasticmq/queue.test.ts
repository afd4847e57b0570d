import { describeQueueContract } from "../../contract/queue.contract.ts";
import { ELASTICMQ } from "../../support/emulator-backends.ts";

describeQueueContract(ELASTICMQ);
