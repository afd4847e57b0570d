import { describeAddress } from "../../support/address-suite.ts";

describeAddress("elasticmq");
