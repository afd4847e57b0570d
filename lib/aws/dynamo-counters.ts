import { QueryCommand, UpdateItemCommand } from "@aws-sdk/client-dynamodb";
import type { Counter, MinuteCounters } from "../task/counters.ts";
import { countedStretch, counterAttribute, counterKey, countersOf, minuteOfKey } from "../task/counters.ts";
import { ATTRIBUTES } from "../task/record-codec.ts";
import { toTasklaneError } from "./aws-errors.ts";
import type { StoredItem } from "./dynamo-item.ts";
import { marshalKey, numberOf, textOf, unmarshalItem } from "./dynamo-item.ts";
import type { DynamoTable } from "./dynamo-table.ts";
import { marshalValues, namesIn } from "./dynamo-table.ts";

const { partition, sort, expiresAt } = ATTRIBUTES;

/**
 * Adds to the item of a minute in one write, and reads nothing back. One item takes about 1,000 write units a second, a unit for
 * each started KB of it: that many hosts may write within one second.
 *
 * @throws TasklaneError
 */
export async function addCounters(
  table: DynamoTable,
  minute: number,
  counters: readonly Counter[],
  forgetAt: number,
): Promise<void> {
  // ADD makes the item and each number that is not there yet.
  const adding = counters.map((_, place) => `#c${place} :c${place}`).join(",");
  try {
    await table.client.send(
      new UpdateItemCommand({
        TableName: table.name,
        Key: marshalKey(counterKey(minute)),
        UpdateExpression: `SET #x = :x ADD ${adding}`,
        ExpressionAttributeNames: {
          "#x": expiresAt,
          ...Object.fromEntries(counters.map((counter, place) => [`#c${place}`, counterAttribute(counter)])),
        },
        ExpressionAttributeValues: marshalValues({
          x: Math.ceil(forgetAt / 1_000),
          ...Object.fromEntries(counters.map(({ count }, place) => [`c${place}`, count])),
        }),
        ReturnValues: "NONE",
      }),
    );
  } catch (error) {
    throw toTasklaneError(error, { action: "dynamodb:UpdateItem", resource: `table "${table.name}"` });
  }
}

/** Reads what was counted in a stretch of time: one query a day, and one more for each MB. @throws TasklaneError */
export async function readCounters(table: DynamoTable, from: number, until: number): Promise<MinuteCounters[]> {
  const condition = `#${partition} = :day AND #${sort} BETWEEN :first AND :last`;
  const nowSeconds = Math.floor(table.clock.now() / 1_000);
  const minutes: MinuteCounters[] = [];
  for (const { partition: day, first, last } of countedStretch(from, until)) {
    let start: StoredItem | undefined;
    do {
      try {
        const answer = await table.client.send(
          new QueryCommand({
            TableName: table.name,
            KeyConditionExpression: condition,
            ExpressionAttributeNames: namesIn(condition),
            ExpressionAttributeValues: marshalValues({ day, first, last }),
            ...(start === undefined ? {} : { ExclusiveStartKey: start }),
          }),
        );
        start = answer.LastEvaluatedKey;
        for (const stored of answer.Items ?? []) {
          const item = unmarshalItem(stored);
          if (numberOf(item, expiresAt) > nowSeconds)
            minutes.push({ minute: minuteOfKey(day, textOf(item, sort)), counters: countersOf(item) });
        }
      } catch (error) {
        throw toTasklaneError(error, { action: "dynamodb:Query", resource: `table "${table.name}"` });
      }
    } while (start !== undefined);
  }
  return minutes;
}
