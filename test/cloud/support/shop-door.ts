import { signedFetch } from "./signed-fetch.ts";
import type { Ask } from "./shop-suite.ts";

/** By HTTP at the function's URL, signed as AWS_IAM wants it; MiniStack serves it under a path of its own. */
export const byHttp: Ask = async (deployment, method, path, body) => {
  const { endpoint } = deployment;
  const url = new URL(deployment.output("TasklaneShop", "Url"));
  const id = url.hostname.split(".")[0];
  const door = endpoint === undefined ? url.origin : `${endpoint}/_aws/lambda-url/${id}`;
  const headers = { "content-type": "application/json" };
  const answer = await signedFetch(endpoint, "lambda", () => `${door}${path}`, { method, headers, body });
  return { status: answer.status, body: JSON.parse(await answer.text()) };
};
