import { describePayloadsContract } from "../../contract/payloads.contract.ts";
import { LOCALSTACK } from "../../support/emulator-backends.ts";

describePayloadsContract(LOCALSTACK);
