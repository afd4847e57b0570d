import middy from "@middy/core";
import { visibilityHeartbeat } from "tasklane/lambda";
import { handler as sendMails } from "./before.ts";

export const handler = middy(sendMails).use(visibilityHeartbeat({ visibility: "30s" }));
