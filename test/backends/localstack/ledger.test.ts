import { describeLedgerContract } from "../../contract/ledger.contract.ts";
import { LOCALSTACK } from "../../support/emulator-backends.ts";

describeLedgerContract(LOCALSTACK);
