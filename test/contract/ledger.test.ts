import { CONTRACT_BACKENDS } from "../support/contract-backends.ts";
import { describeLedgerContract } from "./ledger.contract.ts";

for (const backend of CONTRACT_BACKENDS) describeLedgerContract(backend);
