import { QueryCommand } from "@aws-sdk/client-dynamodb";
import type { SideItem } from "../ports/ledger.ts";
import { TasklaneError } from "../task/errors.ts";
import { ATTRIBUTES, RECORD_SORT_KEY, taskPartition } from "../task/record-codec.ts";
import { toTasklaneError } from "./aws-errors.ts";
import { ORDER_NOT_ABOVE, VALUE, VERSION } from "./dynamo-conditions.ts";
import type { StoredItem } from "./dynamo-item.ts";
import { numberOf, textOf, unmarshalItem } from "./dynamo-item.ts";
import type { DynamoTable } from "./dynamo-table.ts";
import { marshalValues, namesIn, writeSingle } from "./dynamo-table.ts";

const { partition, sort, expiresAt } = ATTRIBUTES;

/** Writes a side item; one of a higher order stays. @throws TasklaneError */
export async function putSide(table: DynamoTable, item: SideItem): Promise<void> {
  if (item.key === "" || item.key === RECORD_SORT_KEY)
    throw new TasklaneError("OPTION_INVALID", {
      what: "A side item of a task would lie where its record is",
      received: item.key,
      expected: `a key other than "" and "${RECORD_SORT_KEY}"`,
    });
  const key = { partition: taskPartition(item.id), sort: item.key };
  const put = {
    [partition]: key.partition,
    [sort]: key.sort,
    [VALUE]: item.value,
    [expiresAt]: Math.ceil(item.expiresAt / 1_000),
  };
  const answer = await writeSingle(
    table,
    item.order === undefined
      ? { key, change: { put }, values: {} }
      : {
          key,
          change: { put: { ...put, [VERSION]: item.order } },
          condition: ORDER_NOT_ABOVE,
          values: { [VERSION]: item.order },
        },
  );
  if (answer.kind === "failed") throw answer.error;
}

/** Reads the side items of a task whose key starts so, by key. Those whose time is over are left out, though TTL is late. @throws TasklaneError */
export async function readSides(
  table: DynamoTable,
  id: string,
  prefix: string,
): Promise<{ key: string; value: string }[]> {
  // An empty text is no valid operand of begins_with.
  const condition = `#${partition} = :task${prefix === "" ? "" : ` AND begins_with(#${sort}, :prefix)`}`;
  const nowSeconds = Math.floor(table.clock.now() / 1_000);
  const sides: { key: string; value: string }[] = [];
  let from: StoredItem | undefined;
  do {
    try {
      const answer = await table.client.send(
        new QueryCommand({
          TableName: table.name,
          ConsistentRead: true,
          KeyConditionExpression: condition,
          ExpressionAttributeNames: namesIn(condition),
          ExpressionAttributeValues: marshalValues({ task: taskPartition(id), ...(prefix === "" ? {} : { prefix }) }),
          ...(from === undefined ? {} : { ExclusiveStartKey: from }),
        }),
      );
      from = answer.LastEvaluatedKey;
      for (const stored of answer.Items ?? []) {
        const item = unmarshalItem(stored);
        const key = textOf(item, sort);
        if (key === RECORD_SORT_KEY || numberOf(item, expiresAt) <= nowSeconds) continue;
        sides.push({ key, value: textOf(item, VALUE) });
      }
    } catch (error) {
      throw toTasklaneError(error, { action: "dynamodb:Query", resource: `table "${table.name}"` });
    }
  } while (from !== undefined);
  return sides;
}
