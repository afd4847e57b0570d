import type { Deployment } from "./deployment.ts";
import { signedFetch } from "./signed-fetch.ts";

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

async function linesOf(endpoint: string | undefined, logGroupName: string): Promise<string[]> {
  const lines: string[] = [];
  let nextToken: string | undefined;
  do {
    // By HTTP: nothing else here needs the client of CloudWatch's logs.
    const headers = { "content-type": "application/x-amz-json-1.1", "x-amz-target": "Logs_20140328.FilterLogEvents" };
    const body = JSON.stringify({ logGroupName, nextToken });
    const url = (region: string): string => endpoint ?? `https://logs.${region}.amazonaws.com/`;
    const answer = await signedFetch(endpoint, "logs", url, { method: "POST", headers, body });
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
