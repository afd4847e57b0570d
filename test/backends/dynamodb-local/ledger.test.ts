import { describeLedgerContract } from "../../contract/ledger.contract.ts";
import { DYNAMODB_LOCAL } from "../../support/emulator-backends.ts";

describeLedgerContract(DYNAMODB_LOCAL);
