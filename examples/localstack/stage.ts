import { startLocal } from "tasklane/testing";
import { handlers } from "./mails.ts";

// Where nothing is deployed, the embedded stack stands in for it: the same test runs on both.
if (process.env["TASKLANE_TOPOLOGY"] === undefined) Object.assign(process.env, (await startLocal({ handlers })).env);
