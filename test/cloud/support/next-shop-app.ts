import { App } from "aws-cdk-lib";
import { ShopStack } from "../../../infra/shop-stack.ts";

/** The shop's next release: its functions change, and so CloudFormation has something to update. */
const app = new App();
const { queue } = new ShopStack(app, "TasklaneShop", { without: ["autoDeleteObjects", "metricMath"] });
for (const worker of Object.values(queue.workers)) worker.addEnvironment("SHOP_RELEASE", "2");
