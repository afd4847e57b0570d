import type { IGrantable } from "aws-cdk-lib/aws-iam";
import { Grant } from "aws-cdk-lib/aws-iam";
import type { IKey } from "aws-cdk-lib/aws-kms";
import { TasklaneError } from "../lib/task/errors.ts";
import type { LedgerIndex } from "../lib/task/ledger-shape.ts";
import { taskPartition } from "../lib/task/record-codec.ts";
import { acknowledgeObjectKeys, objectArns } from "./object-keys.ts";

/** The ARNs that permissions are about. */
export interface GrantTargets {
  readonly queueArns: readonly string[];
  /** Of the dead letter queues; empty where they are not known. */
  readonly deadLetterQueueArns: readonly string[];
  readonly tableArn: string;
  readonly bucketArn: string;
  readonly encryptionKey?: IKey | undefined;
}

/** What a role may do. */
interface Permissions {
  readonly queues?: readonly string[];
  readonly deadLetterQueues?: readonly string[];
  readonly table?: readonly string[];
  /** The indexes that may be queried. */
  readonly indexes?: readonly LedgerIndex[];
  readonly objects?: readonly string[];
  readonly key?: readonly string[];
  /** Keeps the permissions on the table to items of tasks: no rate limit, no state of the scheduler. */
  readonly tasksOnly?: boolean;
}

const ENQUEUE: Permissions = {
  queues: ["sqs:SendMessage", "sqs:GetQueueAttributes"],
  table: ["dynamodb:PutItem", "dynamodb:UpdateItem"],
  objects: ["s3:PutObject"],
  key: ["kms:Decrypt", "kms:GenerateDataKey"],
  tasksOnly: true,
};

const CONSUME: Permissions = {
  queues: [
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:ChangeMessageVisibility",
    "sqs:GetQueueAttributes",
    // Puts a task back, and enqueues from a handler.
    "sqs:SendMessage",
  ],
  deadLetterQueues: ["sqs:SendMessage"],
  table: ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem"],
  objects: ["s3:GetObject", "s3:PutObject"],
  key: ["kms:Decrypt", "kms:GenerateDataKey"],
};

const READ: Permissions = {
  queues: ["sqs:GetQueueAttributes"],
  deadLetterQueues: ["sqs:GetQueueAttributes"],
  table: ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query"],
  indexes: ["created", "dead"],
  objects: ["s3:GetObject"],
  key: ["kms:Decrypt"],
};

const OPERATE: Permissions = {
  queues: ["sqs:GetQueueAttributes", "sqs:SendMessage"],
  // A message move is made with the permissions of whoever starts it.
  deadLetterQueues: [
    "sqs:GetQueueAttributes",
    "sqs:ReceiveMessage",
    "sqs:DeleteMessage",
    "sqs:StartMessageMoveTask",
    "sqs:CancelMessageMoveTask",
    "sqs:ListMessageMoveTasks",
  ],
  table: ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem"],
  indexes: ["created", "dead"],
  objects: ["s3:GetObject", "s3:PutObject"],
  key: ["kms:Decrypt", "kms:GenerateDataKey"],
};

const SCHEDULE: Permissions = {
  queues: ["sqs:GetQueueAttributes", "sqs:SendMessage"],
  deadLetterQueues: ["sqs:ReceiveMessage", "sqs:DeleteMessage", "sqs:SendMessage"],
  table: ["dynamodb:GetItem", "dynamodb:BatchGetItem", "dynamodb:Query", "dynamodb:PutItem", "dynamodb:UpdateItem"],
  indexes: ["created", "owed", "dead"],
  objects: ["s3:GetObject", "s3:PutObject"],
  key: ["kms:Decrypt", "kms:GenerateDataKey"],
};

/** Permissions on a queue, and nothing else: no variable, no event source. Each names its actions and resources one by one. */
export class TaskQueueGrants {
  readonly #targets: GrantTargets;

  constructor(targets: GrantTargets) {
    this.#targets = targets;
  }

  /** Enqueue tasks. For `task.get()` and `task.result()` add {@link TaskQueueGrants.read}. */
  enqueue(grantee: IGrantable): Grant {
    return grant(this.#targets, grantee, ENQUEUE);
  }

  /** Run tasks: what a worker does, enqueueing from handlers and dead letters included. */
  consume(grantee: IGrantable): Grant {
    return grant(this.#targets, grantee, CONSUME);
  }

  /** Look at tasks, lists and depths, results and payloads included. */
  read(grantee: IGrantable): Grant {
    return grant(this.#targets, grantee, READ);
  }

  /** Look at tasks, cancel and redrive them, and move dead letters back by SQS's own redrive. Nothing deletes or purges a queue. */
  operate(grantee: IGrantable): Grant {
    return grant(this.#targets, grantee, OPERATE);
  }
}

/** What the scheduler does: it reads the indexes, sends what is owed, and turns strangers in the dead letter queues into records. */
export function grantSchedule(targets: GrantTargets, grantee: IGrantable): Grant {
  return grant(targets, grantee, SCHEDULE);
}

function grant(targets: GrantTargets, grantee: IGrantable, permissions: Permissions): Grant {
  const { tableArn, bucketArn, encryptionKey } = targets;
  const allow = (
    actions: readonly string[] = [],
    resourceArns: readonly string[],
    conditions?: Record<string, Record<string, unknown>>,
  ): Grant[] =>
    actions.length === 0 || resourceArns.length === 0
      ? []
      : [
          Grant.addToPrincipal({
            grantee,
            actions: [...actions],
            resourceArns: [...resourceArns],
            ...(conditions === undefined ? {} : { conditions }),
          }),
        ];
  const grants = [
    ...allow(permissions.queues, targets.queueArns),
    ...allow(permissions.deadLetterQueues, targets.deadLetterQueueArns),
    ...allow(permissions.table, [tableArn], permissions.tasksOnly === true ? TASKS_ONLY : undefined),
    ...allow(
      ["dynamodb:Query"],
      (permissions.indexes ?? []).map((index) => `${tableArn}/index/${index}`),
    ),
    ...allow(permissions.objects, objectArns(bucketArn)),
  ];
  const [first, ...others] = grants;
  if (first === undefined) throw new TypeError("A grant without any permission.");
  if (encryptionKey !== undefined) {
    const byKey = encryptionKey.grant(grantee, ...(permissions.key ?? []));
    // An alias that is known by its name alone answers a grant and gives nothing.
    if (first.success && !byKey.success) throw grantsNothing(encryptionKey);
    // What is granted by the key's own policy, as to a role that cannot be changed, nothing can be made to wait for.
    if (byKey.principalStatements.length > 0) others.push(byKey);
  }
  acknowledgeObjectKeys(grantee, bucketArn);
  return others.reduce((sum, other) => sum.combine(other), first);
}

function grantsNothing({ node }: IKey): TasklaneError {
  return new TasklaneError("OPTION_INVALID", {
    what: `The encryptionKey ${node.path} gives no permission to anybody, so no role could read or write what it encrypts`,
    received: "a key that is known by an alias alone",
    expected: "a key that is known by its ARN",
    fix: "give Key.fromKeyArn(…), or the alias's own key (aliasTargetKey)",
  });
}

const TASKS_ONLY = { "ForAllValues:StringLike": { "dynamodb:LeadingKeys": [taskPartition("*")] } };
