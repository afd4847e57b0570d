import { InvokeCommand, LambdaClient } from "@aws-sdk/client-lambda";
import { endpointOf } from "../../support/emulator-backends.ts";
import { sdkAt } from "../support/deployment.ts";
import type { Ask } from "../support/shop-suite.ts";
import { describeShop } from "../support/shop-suite.ts";

/** By invoking the function with the request that its URL would make of it: the URL's host is known to LocalStack's own DNS server alone. */
const byInvocation: Ask = async (deployment, method, path, body) => {
  const { Payload } = await new LambdaClient(sdkAt(deployment.endpoint)).send(
    new InvokeCommand({
      FunctionName: await deployment.resource("TasklaneShop", "Producer", "AWS::Lambda::Function"),
      Payload: JSON.stringify({ rawPath: path, body, requestContext: { http: { method } } }),
    }),
  );
  const answer = JSON.parse(Buffer.from(Payload ?? []).toString());
  return { status: answer.statusCode, body: JSON.parse(answer.body) };
};

describeShop("localstack", () => endpointOf("localstack"), byInvocation);
