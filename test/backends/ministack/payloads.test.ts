import { describePayloadsContract } from "../../contract/payloads.contract.ts";
import { MINISTACK } from "../../support/emulator-backends.ts";

describePayloadsContract(MINISTACK);
