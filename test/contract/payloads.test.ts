import { CONTRACT_BACKENDS } from "../support/contract-backends.ts";
import { describePayloadsContract } from "./payloads.contract.ts";

for (const backend of CONTRACT_BACKENDS) describePayloadsContract(backend);
