import { CONTRACT_BACKENDS } from "../support/contract-backends.ts";
import { describeQueueContract } from "./queue.contract.ts";

for (const backend of CONTRACT_BACKENDS) describeQueueContract(backend);
