import { App, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import { AccountRootPrincipal, Role } from "aws-cdk-lib/aws-iam";
import { CfnFunction, Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { CfnRole } from "aws-cdk-lib/aws-iam";
import { TaskQueue } from "../../../infra/index.ts";
import { ShopStack } from "../../../infra/shop-stack.ts";

/**
 * The shop, and a queue with a role for each grant. Each function sends its calls through the recorder, under the name of its role: the
 * SDK puts an app id into its user agent, which changes nothing else.
 */
const app = new App();
const recorder: unknown = app.node.tryGetContext("recorder");
if (typeof recorder !== "string") throw new TypeError("cdk --context recorder=URL says where calls are recorded.");
const without = ["alarms", "autoDeleteObjects", "dashboard", "metricMath"] as const;

new ShopStack(app, "TasklaneShop", { without });
const stack = new Stack(app, "TasklaneRoles");
const queue = new TaskQueue(stack, "Tasks", {
  queueName: "roles",
  workerEntry: new URL("privilege-worker.ts", import.meta.url),
  // Above the longest timeout of its tasks.
  workerProps: { timeout: Duration.minutes(12) },
  lanes: ["high", "normal"],
  maxConcurrency: 2,
  removalPolicy: RemovalPolicy.DESTROY,
  without,
});
for (const grant of ["enqueue", "read", "operate"] as const)
  queue.grants[grant](new Role(stack, grant, { assumedBy: new AccountRootPrincipal() }));

for (const each of app.node.findAll()) {
  if (!(each instanceof LambdaFunction) || !(each.node.defaultChild instanceof CfnFunction)) continue;
  const role = each.role?.node.defaultChild as CfnRole;
  each.addEnvironment("AWS_ENDPOINT_URL", recorder);
  each.addEnvironment("AWS_SDK_UA_APP_ID", `${each.stack.stackName}.${each.stack.getLogicalId(role)}`);
}
