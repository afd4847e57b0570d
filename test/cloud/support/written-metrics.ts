import type { Deployment } from "./deployment.ts";

const AUTHORIZATION =
  "AWS4-HMAC-SHA256 Credential=test/20261124/us-east-1/logs/aws4_request, SignedHeaders=host, Signature=0";

interface LogPage {
  readonly events?: readonly { readonly message?: string }[];
  readonly nextToken?: string;
}

/** What a queue's functions wrote of a metric to their logs, added up: they write it at the end of each invocation. */
export async function writtenMetric(
  deployment: Deployment,
  stack: string,
  queue: string,
  metric: string,
): Promise<number> {
  let sum = 0;
  for (const group of await deployment.logGroups(stack))
    for (const line of await linesOf(deployment.endpoint, group)) {
      const { Queue, [metric]: value } = readMetrics(line);
      if (Queue === queue && typeof value === "number") sum += value;
    }
  return sum;
}

async function linesOf(endpoint: string, logGroupName: string): Promise<string[]> {
  const lines: string[] = [];
  let nextToken: string | undefined;
  do {
    // By HTTP: nothing else here needs the client of CloudWatch's logs.
    const answer = await fetch(endpoint, {
      method: "POST",
      headers: {
        "content-type": "application/x-amz-json-1.1",
        "x-amz-target": "Logs_20140328.FilterLogEvents",
        authorization: AUTHORIZATION,
      },
      body: JSON.stringify({ logGroupName, nextToken }),
    });
    if (!answer.ok) throw new Error(`FilterLogEvents of ${logGroupName}: ${answer.status} ${await answer.text()}`);
    const page = (await answer.json()) as LogPage;
    lines.push(...(page.events ?? []).flatMap(({ message = "" }) => message.split("\n")));
    nextToken = page.nextToken;
  } while (nextToken !== undefined && nextToken !== "");
  return lines;
}

/** A line in CloudWatch's embedded metric format, or nothing. */
function readMetrics(line: string): Readonly<Record<string, unknown>> {
  const at = line.indexOf('{"_aws":');
  if (at < 0) return {};
  return JSON.parse(line.slice(at)) as Record<string, unknown>;
}
