import { askForAws } from "../../support/aws-account.ts";
import { byHttp } from "../support/shop-door.ts";
import { describeShop } from "../support/shop-suite.ts";

askForAws("the shop with its alarms, for some minutes, and a few orders", 0.02);
describeShop("AWS", () => undefined, byHttp);
