import { describeLedgerContract } from "../../contract/ledger.contract.ts";
import { MINISTACK } from "../../support/emulator-backends.ts";

describeLedgerContract(MINISTACK);
