import { describeQueueContract } from "../../contract/queue.contract.ts";
import { LOCALSTACK } from "../../support/emulator-backends.ts";

describeQueueContract(LOCALSTACK);
