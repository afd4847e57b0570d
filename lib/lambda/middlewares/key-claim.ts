import { createHash } from "node:crypto";
import { TasklaneError } from "../../task/errors.ts";
import type { Json } from "../../task/json.ts";
import { parseJson } from "../../task/parse-json.ts";

/** The largest result that is kept: an item has 400 KB, and every read of it is paid for by its size. */
const RESULT_MAX_BYTES = 131_072;
/** DynamoDB's longest partition key. */
export const KEY_MAX_BYTES = 2_048;
/** DynamoDB's longest sort key. */
export const SORT_KEY_MAX_BYTES = 1_024;

/** A key that is being claimed. */
export interface KeyClaim {
  readonly key: string;
  readonly payloadHash: string;
  /** New for each claim, so that a claim whose answer was lost is recognised, and a later owner is not written over. */
  readonly token: string;
  /** When others may take the key over, unless it is completed. Milliseconds since 1970. */
  readonly inProgressUntil: number;
  /** When the key is free again. Milliseconds since 1970. */
  readonly expiresAt: number;
}

/** What became of a claim. */
export type ClaimAnswer =
  | { readonly kind: "claimed" }
  | { readonly kind: "in-progress" }
  | { readonly kind: "completed"; readonly result: Json | undefined }
  | { readonly kind: "conflict" }
  /** `unanswered`: the key may be claimed all the same. */
  | { readonly kind: "failed"; readonly error: TasklaneError; readonly unanswered: boolean };

/** Marks the hashes that are made here: those of Powertools are of another kind, and are not compared. */
export const HASH_PREFIX = "sha256-";

/** Hashes what two messages with the same key have to have in common. */
export function hashPayload(text: string): string {
  return HASH_PREFIX + createHash("sha256").update(text).digest("base64");
}

/** A result as JSON, or `undefined` where there is none, it is no JSON, or it is too large to keep. */
export function jsonResult(result: unknown): Json | undefined {
  try {
    const text: string | undefined = JSON.stringify(result);
    if (text === undefined || Buffer.byteLength(text) > RESULT_MAX_BYTES) return undefined;
    return parseJson(text);
  } catch {
    return undefined;
  }
}

/** Why a record cannot be handed to the handler now, if it cannot. */
export function refusalOf(answer: ClaimAnswer, key: string): TasklaneError | undefined {
  switch (answer.kind) {
    case "claimed":
    case "completed":
      return undefined;
    case "failed":
      return answer.error;
    case "in-progress":
      return new TasklaneError("IDEMPOTENCY_IN_PROGRESS", {
        what: "The same work is in progress in another invocation",
        received: key,
        fix: "none is needed: the message comes again, and is acknowledged once the work is done",
      });
    case "conflict":
      return new TasklaneError("IDEMPOTENCY_CONFLICT", {
        what: "A message with the same idempotency key had another payload",
        received: key,
        fix: "put into the key what makes the work different, or leave out of { payload } what changes from send to send",
      });
  }
}

/** Refuses a key that DynamoDB would refuse. @throws TasklaneError `OPTION_INVALID` */
export function checkKey(key: unknown, maxBytes: number): string {
  if (typeof key === "string" && key !== "" && Buffer.byteLength(key) <= maxBytes) return key;
  throw new TasklaneError("OPTION_INVALID", {
    what: "The idempotency key of a message cannot be used",
    received: key,
    expected: `a text of 1 to ${maxBytes} bytes`,
    fix: "mend { key }, or what sends such messages",
  });
}
