import { LambdaClient } from "@aws-sdk/client-lambda";
import { AwsClient } from "aws4fetch";
import { sdkAt } from "./deployment.ts";

/** Sends a request signed as the SDK would sign it for that service: for what no client of ours speaks to. */
export async function signedFetch(
  endpoint: string | undefined,
  service: string,
  url: (region: string) => string,
  init: {
    readonly method: string;
    readonly headers: Readonly<Record<string, string>>;
    readonly body?: string | undefined;
  },
): Promise<Response> {
  // The client knows where credentials and region come from.
  const client = new LambdaClient(sdkAt(endpoint));
  const [{ accessKeyId, secretAccessKey, sessionToken }, region] = await Promise.all([
    client.config.credentials(),
    client.config.region(),
  ]);
  const keys = { accessKeyId, secretAccessKey, ...(sessionToken === undefined ? {} : { sessionToken }) };
  const signer = new AwsClient({ ...keys, service, region, retries: 0 });
  const { body, ...rest } = init;
  return signer.fetch(url(region), { ...rest, ...(body === undefined ? {} : { body }) });
}
