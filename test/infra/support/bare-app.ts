/*
 * An app that is run in an empty folder, as `node bare-app.ts <worker entry>`.
 */
import { App, Stack } from "aws-cdk-lib";
import { TaskQueue } from "../../../infra/index.ts";

const app = new App({ outdir: "cdk.out" });
new TaskQueue(new Stack(app, "Bare"), "Tasks", { workerEntry: process.argv[2], lanes: ["normal"] });
app.synth();
