import { QueryCommand } from "@aws-sdk/client-dynamodb";
import type { IndexPage, IndexQuery } from "../ports/ledger.ts";
import { TasklaneError } from "../task/errors.ts";
import { parseUntrustedJson } from "../task/json.ts";
import { INDEXES } from "../task/ledger-shape.ts";
import type { Item } from "../task/record-codec.ts";
import { ATTRIBUTES, idOfPartition } from "../task/record-codec.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { marshalItem, numberOf, textOf, unmarshalItem } from "./dynamo-item.ts";
import type { DynamoTable } from "./dynamo-table.ts";
import { marshalValues, namesIn } from "./dynamo-table.ts";

const TOKEN_MAX_CHARS = 2_048;

/** Reads a page of an index. @throws TasklaneError */
export async function queryIndex(table: DynamoTable, query: IndexQuery): Promise<IndexPage> {
  const { shard, time } = INDEXES[query.index];
  const from = wholeTime(query.from);
  const until = wholeTime(query.until);
  // DynamoDB refuses an empty stretch where the answer is simply nothing.
  if (from > until || query.limit < 1) return { entries: [] };
  const condition = `#${shard} = :shard AND #${time} BETWEEN :from AND :until`;
  const start = query.next === undefined ? undefined : readToken(query.next, [shard, time]);
  try {
    const answer = await table.client.send(
      new QueryCommand({
        TableName: table.name,
        IndexName: query.index,
        KeyConditionExpression: condition,
        ExpressionAttributeNames: namesIn(condition),
        ExpressionAttributeValues: marshalValues({ shard: String(query.shard), from, until }),
        ScanIndexForward: query.newestFirst !== true,
        Limit: query.limit,
        ...(start === undefined ? {} : { ExclusiveStartKey: marshalItem(start) }),
      }),
    );
    const entries = (answer.Items ?? []).map((stored) => {
      const item = unmarshalItem(stored);
      return { id: idOfPartition(textOf(item, ATTRIBUTES.partition)), at: numberOf(item, time) };
    });
    const last = answer.LastEvaluatedKey;
    return last === undefined ? { entries } : { entries, next: writeToken(unmarshalItem(last)) };
  } catch (error) {
    throw toTasklaneError(error, {
      action: "dynamodb:Query",
      resource: `index "${query.index}" of table "${table.name}"`,
    });
  }
}

/** Numbers beyond what a time can be, infinity among them, mean the first or the last. */
function wholeTime(at: number): number {
  return Math.max(0, Math.min(at, Number.MAX_SAFE_INTEGER));
}

function writeToken(key: Item): string {
  return Buffer.from(JSON.stringify(key)).toString("base64url");
}

/** A token may have been through a browser: only the attributes of a key of this index are taken from it. */
function readToken(token: string, indexKey: readonly string[]): Item {
  const parsed = parseUntrustedJson(Buffer.from(token, "base64url").toString(), TOKEN_MAX_CHARS);
  const key: Item = {};
  if (parsed.ok && typeof parsed.value === "object" && parsed.value !== null && !Array.isArray(parsed.value)) {
    for (const name of [ATTRIBUTES.partition, ATTRIBUTES.sort, ...indexKey]) {
      const value = parsed.value[name];
      if (typeof value === "string" || typeof value === "number") key[name] = value;
    }
  }
  if (Object.keys(key).length === 2 + indexKey.length) return key;
  throw new TasklaneError("OPTION_INVALID", {
    what: "The token of the next page is not one that this index gave",
    received: token,
    expected: "the `next` of the page before",
  });
}
