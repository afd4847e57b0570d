import type { Ask } from "./shop-suite.ts";

/** MiniStack asks whether a request is signed, and takes any signature. */
const SIGNED =
  "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/lambda/aws4_request, SignedHeaders=host, Signature=0";

/** By HTTP, at the path under which MiniStack serves a function URL. */
export const byHttp: Ask = async (deployment, method, path, body) => {
  const id = new URL(deployment.output("TasklaneShop", "Url")).hostname.split(".")[0];
  const answer = await fetch(`${deployment.endpoint}/_aws/lambda-url/${id}${path}`, {
    method,
    ...(body === undefined ? {} : { body }),
    headers: { "content-type": "application/json", authorization: SIGNED },
  });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
};
