import { App } from "aws-cdk-lib";
import type { LeftOut } from "./index.ts";
import { ShopStack } from "./shop-stack.ts";

/** What each emulator refuses; `-c emulator=NAME` leaves it out. */
const REFUSED: Readonly<Record<string, readonly LeftOut[]>> = {
  localstack: ["autoDeleteObjects"],
  ministack: ["autoDeleteObjects", "metricMath"],
};

const app = new App();
const emulator: unknown = app.node.tryGetContext("emulator");
new ShopStack(app, "TasklaneShop", { without: typeof emulator === "string" ? (REFUSED[emulator] ?? []) : [] });
