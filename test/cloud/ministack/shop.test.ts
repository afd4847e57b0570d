import { endpointOf } from "../../support/emulator-backends.ts";
import { byHttp } from "../support/shop-door.ts";
import { describeShop } from "../support/shop-suite.ts";

describeShop("ministack", () => endpointOf("ministack"), byHttp);
