import type { ProxiedCall } from "../../support/interfering-proxy.ts";

/** What a call needs of whoever makes it, as IAM asks it. */
export interface Permission {
  /** Who called, as `STACK.ROLE`; empty if the call does not say. */
  readonly role: string;
  readonly action: string;
  readonly resource: string;
  /** Partition keys that a call to a table names. */
  readonly leadingKeys: readonly string[];
}

const ACCOUNT = "us-east-1:000000000000";
/** Batches need the permission of their single calls. */
const SQS_ACTIONS: Readonly<Record<string, string>> = {
  SendMessageBatch: "SendMessage",
  DeleteMessageBatch: "DeleteMessage",
  ChangeMessageVisibilityBatch: "ChangeMessageVisibility",
};

/** Reads from a request which permissions it needs. @throws Error for a kind of request that this does not know */
export function permissionsOf(call: ProxiedCall): Permission[] {
  const role = /(?:^|\s)app\/(\S+)/.exec(call.headers["user-agent"] ?? "")?.[1] ?? "";
  const [service = "", operation] = call.name.split(".");
  const needs = service.startsWith("AmazonSQS")
    ? sqsNeeds(operation ?? "", JSON.parse(call.body.toString()))
    : service.startsWith("DynamoDB_")
      ? dynamoNeeds(operation ?? "", JSON.parse(call.body.toString()))
      : s3Needs(call);
  return needs.map((need) => ({ role, leadingKeys: [], ...need }));
}

type Need = Omit<Permission, "role" | "leadingKeys"> & Partial<Permission>;

function sqsNeeds(operation: string, { QueueUrl, SourceArn }: { QueueUrl?: string; SourceArn?: string }): Need[] {
  const resource = SourceArn ?? `arn:aws:sqs:${ACCOUNT}:${QueueUrl?.slice(QueueUrl.lastIndexOf("/") + 1)}`;
  return [{ action: `sqs:${SQS_ACTIONS[operation] ?? operation}`, resource }];
}

interface Keyed {
  readonly pk?: { readonly S?: string };
}

interface DynamoInput {
  readonly TableName?: string;
  readonly IndexName?: string;
  readonly Item?: Keyed;
  readonly Key?: Keyed;
  readonly ExpressionAttributeValues?: Readonly<Record<string, { readonly S?: string }>>;
  readonly RequestItems?: Readonly<Record<string, { readonly Keys?: readonly Keyed[] }>>;
}

function dynamoNeeds(operation: string, input: DynamoInput): Need[] {
  const action = `dynamodb:${operation}`;
  const table = (name: string): string => `arn:aws:dynamodb:${ACCOUNT}:table/${name}`;
  if (input.RequestItems !== undefined)
    return Object.entries(input.RequestItems).map(([name, { Keys = [] }]) => ({
      action,
      resource: table(name),
      leadingKeys: keysOf(Keys),
    }));
  if (input.TableName === undefined) throw new Error(`${operation} names no table: its permissions are not known here`);
  const whole = table(input.TableName);
  return [
    {
      action,
      resource: input.IndexName === undefined ? whole : `${whole}/index/${input.IndexName}`,
      leadingKeys: keysOf([input.Item, input.Key]),
    },
  ];
}

function keysOf(items: readonly (Keyed | undefined)[]): string[] {
  return items.flatMap((item) => item?.pk?.S ?? []);
}

/** A bucket is the first part of the path, since emulators know no bucket's own host. */
function s3Needs({ name, headers }: ProxiedCall): Need[] {
  const [method = "", target = ""] = name.split(" ");
  const { pathname, searchParams } = new URL(target, "http://s3");
  const [, bucket = "", ...rest] = pathname.split("/");
  const resource = `arn:aws:s3:::${[bucket, ...rest.map(decodeURIComponent)].join("/")}`;
  const strange = [...searchParams.keys()].filter((key) => key !== "x-id");
  if (
    rest.join("") === "" ||
    strange.length > 0 ||
    Object.keys(headers).some((key) => /^x-amz-(acl|tagging|object-lock)/.test(key))
  )
    throw new Error(`${name}: its permissions are not known here`);
  const source = headers["x-amz-copy-source"];
  if (method === "PUT")
    return [
      { action: "s3:PutObject", resource },
      ...(typeof source === "string"
        ? [{ action: "s3:GetObject", resource: `arn:aws:s3:::${decodeURIComponent(source).replace(/^\//, "")}` }]
        : []),
    ];
  if (method === "GET" || method === "HEAD") return [{ action: "s3:GetObject", resource }];
  if (method === "DELETE") return [{ action: "s3:DeleteObject", resource }];
  throw new Error(`${name}: its permissions are not known here`);
}
