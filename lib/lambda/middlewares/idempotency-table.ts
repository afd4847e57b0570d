import type { AttributeValue } from "@aws-sdk/client-dynamodb";
import {
  DeleteItemCommand,
  DynamoDBClient,
  GetItemCommand,
  PutItemCommand,
  UpdateItemCommand,
} from "@aws-sdk/client-dynamodb";
import { isNamed, isUnanswered, toTasklaneError } from "../../aws/aws-errors.ts";
import type { SdkClients } from "../../connect.ts";
import type { Clock } from "../../ports/clock.ts";
import { TasklaneError } from "../../task/errors.ts";
import type { Json } from "../../task/json.ts";
import { marshalJson, unmarshalJson } from "./attribute-json.ts";
import { CLIENT_OPTIONS } from "./clients.ts";
import type { ClaimAnswer, KeyClaim } from "./key-claim.ts";
import { HASH_PREFIX } from "./key-claim.ts";
import type { IdempotencyAttributes } from "./attributes.ts";
import { settleAttributes } from "./attributes.ts";

/** Where idempotency keys are kept. */
export interface IdempotencyTableOptions {
  readonly table: string;
  readonly attributes?: IdempotencyAttributes | undefined;
  readonly sdk?: SdkClients | undefined;
}

/** An item that vanishes between a refusal and the look at it is claimed again so often. */
const CLAIM_TRIES_MAX = 3;

/*
 *            claim                     complete                          TTL, some day
 * ─────────────●──── INPROGRESS ──────────●────────── COMPLETED ───────────●──────► time
 *              │                 └ release: the item is deleted            │
 *              └ in_progress_expiration: whoever comes may claim           └ expiration: it counts as absent from here on
 */
const FREE = [
  "attribute_not_exists(#key)",
  "#expiry < :nowSeconds",
  "#status = :expired",
  "(#status = :inProgress AND attribute_exists(#inProgressExpiry) AND #inProgressExpiry < :now)",
].join(" OR ");
const HELD = "#token = :token AND #status = :inProgress";
const STATUS = { ":inProgress": { S: "INPROGRESS" } };

type Stored = Record<string, AttributeValue>;

/** Idempotency keys in a DynamoDB table, one item each, as Powertools for AWS Lambda keeps them. */
export class IdempotencyTable {
  readonly #client: DynamoDBClient;
  readonly #table: string;
  readonly #clock: Clock;
  readonly #names: Readonly<Record<Exclude<keyof IdempotencyAttributes, "sortKey" | "partition">, string>>;
  readonly #keyOf: (key: string) => Stored;

  constructor({ table, attributes, sdk }: IdempotencyTableOptions, clock: Clock) {
    this.#client = sdk?.dynamodb ?? new DynamoDBClient(CLIENT_OPTIONS);
    this.#table = table;
    this.#clock = clock;
    const { sortKey, partition, ...names } = settleAttributes(attributes);
    this.#names = names;
    this.#keyOf = (id) =>
      sortKey === undefined ? { [names.key]: { S: id } } : { [names.key]: { S: partition }, [sortKey]: { S: id } };
  }

  /** Takes a key that is free. Never throws. */
  async claim(claim: KeyClaim): Promise<ClaimAnswer> {
    for (let tries = 1; ; tries++) {
      try {
        await this.#put(claim);
        return { kind: "claimed" };
      } catch (error) {
        if (!isNamed(error, "ConditionalCheckFailedException")) return this.#failed(error, "dynamodb:PutItem");
        const answer = await this.#explain(error, claim);
        if (answer !== "free") return answer;
        if (tries === CLAIM_TRIES_MAX) return { kind: "in-progress" };
      }
    }
  }

  /**
   * Keeps the result, if the key is still held. Never throws. One that DynamoDB cannot hold (a number beyond its range, an object in an
   * object for 32 levels) is left out: the work is done all the same, and must not be done again.
   *
   * @returns an error if it is not kept: the key was taken over, or the table did not answer
   */
  async complete(claim: KeyClaim, result: Json | undefined): Promise<TasklaneError | undefined> {
    const setting = ["#status = :completed", "#expiry = :expiry", ...(result === undefined ? [] : ["#data = :data"])];
    const update = `SET ${setting.join(", ")}`;
    try {
      await this.#client.send(
        new UpdateItemCommand({
          TableName: this.#table,
          Key: this.#keyOf(claim.key),
          UpdateExpression: update,
          ConditionExpression: HELD,
          ExpressionAttributeNames: this.#namesIn(update, HELD),
          ExpressionAttributeValues: {
            ...STATUS,
            ":completed": { S: "COMPLETED" },
            ":expiry": { N: String(Math.ceil(claim.expiresAt / 1_000)) },
            ":token": { S: claim.token },
            ...(result === undefined ? {} : { ":data": marshalJson(result) }),
          },
          ReturnValuesOnConditionCheckFailure: "ALL_OLD",
        }),
      );
      return undefined;
    } catch (error) {
      if (result !== undefined && isNamed(error, "ValidationException")) return this.complete(claim, undefined);
      if (!isNamed(error, "ConditionalCheckFailedException"))
        return toTasklaneError(error, { action: "dynamodb:UpdateItem", resource: `table "${this.#table}"` });
      const item = await this.#blocker(error, claim.key).catch(() => undefined);
      // Only our own completion, whose answer was lost, leaves our token there.
      if (item?.[this.#names.token]?.S === claim.token) return undefined;
      return new TasklaneError("LEASE_LOST", {
        what: "The idempotency key was taken over before the handler ended, so its result is not kept",
        received: claim.key,
        fix: "let the invocation's timeout be longer than the handler ever takes",
      });
    }
  }

  /** Gives a key up that is still held, so that the message is handled when it comes again. Never throws. */
  async release(claim: KeyClaim): Promise<void> {
    try {
      await this.#client.send(
        new DeleteItemCommand({
          TableName: this.#table,
          Key: this.#keyOf(claim.key),
          ConditionExpression: HELD,
          ExpressionAttributeNames: this.#namesIn(HELD),
          ExpressionAttributeValues: { ...STATUS, ":token": { S: claim.token } },
        }),
      );
    } catch {
      // Somebody else has it, or it is free once its time in progress is over.
    }
  }

  async #put({ key, payloadHash, token, inProgressUntil, expiresAt }: KeyClaim): Promise<void> {
    const names = this.#names;
    const now = this.#clock.now();
    await this.#client.send(
      new PutItemCommand({
        TableName: this.#table,
        Item: {
          ...this.#keyOf(key),
          [names.status]: { S: "INPROGRESS" },
          [names.expiry]: { N: String(Math.ceil(expiresAt / 1_000)) },
          [names.inProgressExpiry]: { N: String(Math.ceil(inProgressUntil)) },
          [names.validation]: { S: payloadHash },
          [names.token]: { S: token },
        },
        ConditionExpression: FREE,
        ExpressionAttributeNames: this.#namesIn(FREE),
        ExpressionAttributeValues: {
          ...STATUS,
          ":expired": { S: "EXPIRED" },
          ":nowSeconds": { N: String(now / 1_000) },
          ":now": { N: String(now) },
        },
        ReturnValuesOnConditionCheckFailure: "ALL_OLD",
      }),
    );
  }

  /** Says what a refused claim ran into. */
  async #explain(refusal: unknown, { key, payloadHash, token }: KeyClaim): Promise<ClaimAnswer | "free"> {
    let item: Stored | undefined;
    try {
      item = await this.#blocker(refusal, key);
    } catch (error) {
      // The refused write may have been the second try of one that was done.
      return { ...this.#failed(error, "dynamodb:GetItem"), unanswered: true };
    }
    const names = this.#names;
    if (item === undefined) return "free";
    if (item[names.token]?.S === token) return { kind: "claimed" };
    const validation = item[names.validation]?.S;
    if (validation?.startsWith(HASH_PREFIX) === true && validation !== payloadHash) return { kind: "conflict" };
    if (item[names.status]?.S !== "COMPLETED") return { kind: "in-progress" };
    return { kind: "completed", result: unmarshalJson(item[names.data]) };
  }

  /** The item that refused a write. Some compatible services do not send it along. */
  async #blocker(refusal: unknown, key: string): Promise<Stored | undefined> {
    const sent: unknown = typeof refusal === "object" && refusal !== null ? Reflect.get(refusal, "Item") : undefined;
    if (isStored(sent)) return sent;
    const answer = await this.#client.send(
      new GetItemCommand({ TableName: this.#table, Key: this.#keyOf(key), ConsistentRead: true }),
    );
    return answer.Item;
  }

  #failed(error: unknown, action: string): ClaimAnswer & { kind: "failed" } {
    return {
      kind: "failed",
      error: toTasklaneError(error, { action, resource: `table "${this.#table}"` }),
      unanswered: isUnanswered(error),
    };
  }

  /** The names that expressions use. DynamoDB refuses one that is not used. */
  #namesIn(...expressions: readonly string[]): Record<string, string> {
    const text = expressions.join(" ");
    return Object.fromEntries(
      Object.entries(this.#names).flatMap(([name, attribute]) =>
        new RegExp(`#${name}\\b`).test(text) ? [[`#${name}`, attribute]] : [],
      ),
    );
  }
}

function isStored(value: unknown): value is Stored {
  return typeof value === "object" && value !== null && Object.keys(value).length > 0;
}
