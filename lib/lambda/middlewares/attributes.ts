import { TasklaneError } from "../../task/errors.ts";
import { checkOptions } from "../../task/known-options.ts";
import { checkText } from "./options.ts";

/** What the attributes of the table are called. Each default is Powertools' own, but for `token`, which it does not know. */
export interface IdempotencyAttributes {
  /** The partition key, a text. Default `"id"`. */
  readonly key?: string | undefined;
  /** The sort key, where the table has one: the idempotency key goes there, and `partition` into the partition key. */
  readonly sortKey?: string | undefined;
  /** The one partition key of a table that has a sort key. Powertools' is `idempotency#<function name>`. */
  readonly partition?: string | undefined;
  /** When the item is over, in seconds since 1970: the table's TTL attribute. Default `"expiration"`. */
  readonly expiry?: string | undefined;
  /** When an unfinished item may be taken over, in milliseconds since 1970. Default `"in_progress_expiration"`. */
  readonly inProgressExpiry?: string | undefined;
  /** `INPROGRESS` or `COMPLETED`. Default `"status"`. */
  readonly status?: string | undefined;
  /** The result. Default `"data"`. */
  readonly data?: string | undefined;
  /** The hash of the payload. Default `"validation"`. */
  readonly validation?: string | undefined;
  /** Who holds the item. Default `"token"`. */
  readonly token?: string | undefined;
}

/** What the attributes are called, every name settled. */
export type SettledAttributes = Readonly<
  Record<Exclude<keyof IdempotencyAttributes, "sortKey">, string> & { sortKey: string | undefined }
>;

/** Powertools' names, but for `token`. */
const DEFAULT_ATTRIBUTES: SettledAttributes = {
  key: "id",
  sortKey: undefined,
  partition: "idempotency",
  expiry: "expiration",
  inProgressExpiry: "in_progress_expiration",
  status: "status",
  data: "data",
  validation: "validation",
  token: "token",
};

/** The names that are given, and the defaults for the others. */
export function settleAttributes(given: IdempotencyAttributes = {}): SettledAttributes {
  const named = Object.entries(given).filter(([, name]) => name !== undefined);
  return { ...DEFAULT_ATTRIBUTES, ...Object.fromEntries(named) };
}

/** Looks at the names of a table's attributes: each a text, and no two the same, defaults included. @throws TasklaneError `OPTION_INVALID` */
export function checkAttributes(given: IdempotencyAttributes = {}): void {
  checkOptions(given, Object.keys(DEFAULT_ATTRIBUTES), "OPTION_INVALID", "attributes of idempotency");
  const taken = new Set<unknown>();
  for (const [option, name] of Object.entries(settleAttributes(given))) {
    if (name === undefined) continue;
    checkText(name, `${option} among the attributes of idempotency`, "leave it out for its default");
    if (option !== "partition" && taken.size === taken.add(name).size)
      throw new TasklaneError("OPTION_INVALID", {
        what: "Two attributes of idempotency have the same name",
        received: name,
        fix: "give each attribute a name of its own",
      });
  }
}
