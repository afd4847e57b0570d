import { App } from "aws-cdk-lib";
import { MailStack } from "./mail-stack.ts";

// `cdk deploy -c reader=function` goes back; `-c emulator=…` leaves out what emulators refuse.
const app = new App();
new MailStack(app, "Mails", {
  reader: app.node.tryGetContext("reader") === "function" ? "function" : "worker",
  without: app.node.tryGetContext("emulator") === undefined ? [] : ["autoDeleteObjects", "metricMath"],
});
