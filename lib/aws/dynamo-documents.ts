import type { StoredDocument } from "../ports/ledger.ts";
import { ATTRIBUTES, RECORD_SORT_KEY } from "../task/record-codec.ts";
import { DOCUMENT_AS_READ, NO_DOCUMENT, VALUE, VERSION } from "./dynamo-conditions.ts";
import type { ItemKey } from "./dynamo-item.ts";
import { numberOf, textOf } from "./dynamo-item.ts";
import type { DynamoTable } from "./dynamo-table.ts";
import { readItems, writeSingle } from "./dynamo-table.ts";

/** Reads a document, strongly consistent. @throws TasklaneError */
export async function readDocument(table: DynamoTable, name: string): Promise<StoredDocument> {
  const [item] = await readItems(table, [documentKey(name)], true);
  return item === undefined
    ? { value: "", version: 0 }
    : { value: textOf(item, VALUE), version: numberOf(item, VERSION) };
}

/** Replaces a document if its version is still the one given. @throws TasklaneError */
export async function writeDocument(
  table: DynamoTable,
  name: string,
  value: string,
  version: number,
): Promise<boolean> {
  const key = documentKey(name);
  const answer = await writeSingle(table, {
    key,
    change: {
      put: {
        [ATTRIBUTES.partition]: key.partition,
        [ATTRIBUTES.sort]: key.sort,
        [VALUE]: value,
        [VERSION]: version + 1,
      },
    },
    condition: version === 0 ? NO_DOCUMENT : DOCUMENT_AS_READ,
    values: version === 0 ? {} : { readVersion: version },
  });
  if (answer.kind === "failed") throw answer.error;
  if (answer.kind === "done") return true;
  // Sent more than once, it may have been refused for its own first try, whose answer was lost.
  return answer.repeated && answer.item?.[VERSION] === version + 1 && answer.item[VALUE] === value;
}

function documentKey(name: string): ItemKey {
  return { partition: `d#${name}`, sort: RECORD_SORT_KEY };
}
