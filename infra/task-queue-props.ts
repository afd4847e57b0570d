import type { Duration, RemovalPolicy } from "aws-cdk-lib";
import type { WarmThroughput } from "aws-cdk-lib/aws-dynamodb";
import type { IKey } from "aws-cdk-lib/aws-kms";
import type { NodejsFunctionProps } from "aws-cdk-lib/aws-lambda-nodejs";
import type { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { ITopic } from "aws-cdk-lib/aws-sns";
import type { Lane } from "../lib/task/lane.ts";

/** What {@link TaskQueueProps.without} can leave out. */
export type LeftOut = "alarms" | "autoDeleteObjects" | "dashboard" | "metricMath" | "pointInTimeRecovery";

/** How an event source hands messages to a worker function. */
export interface EventSourceOptions {
  /**
   * The most messages of one invocation.
   *
   * @default 10. More saves invocations where tasks take milliseconds, and needs `maxBatchingWindow`; a batch that its function
   * does not live through comes back as a whole.
   */
  readonly batchSize?: number | undefined;
  /**
   * How long an invocation waits for more messages.
   *
   * @default none. Each second is added to the wait of every task and to the queue's visibility timeout.
   */
  readonly maxBatchingWindow?: Duration | undefined;
}

/** Settings of the worker functions: those of `NodejsFunction`, and of their event sources. */
export interface WorkerProps
  extends Omit<
      NodejsFunctionProps,
      "code" | "entry" | "functionName" | "handler" | "logGroup" | "logRemovalPolicy" | "logRetention"
    >,
    EventSourceOptions {}

/** A task definition, as far as the construct looks at it. What `defineTask` returns is one. */
export interface DeployedTask {
  readonly name: string;
  /** Milliseconds. */
  readonly timeoutMs: number;
  /** @default "normal" */
  readonly lane?: Lane | undefined;
}

/** Which lanes a worker function of your own serves, and how. */
export interface AddWorkerOptions extends EventSourceOptions {
  /**
   * @default all deployed lanes. A function that is shared by lanes is shared by their tasks: a flood of `low` ones can then hold
   * back `critical` ones, up to the concurrency of its lane.
   */
  readonly lanes?: readonly Lane[] | undefined;
  /** @default the queue's own `maxConcurrency` */
  readonly maxConcurrency?: number | Partial<Readonly<Record<Lane, number>>> | undefined;
}

/** The settings of a {@link TaskQueue}. All have defaults. */
export interface TaskQueueProps {
  /**
   * The name in envelopes, task ids, metrics and the topology; it names no AWS resource. Two queues of one account need two names,
   * or their metrics run together. A change gives every idempotency key a new meaning.
   *
   * @default "tasklane"
   */
  readonly queueName?: string | undefined;
  /**
   * The module that exports `handler = createLambdaWorker({ handlers })`: a path from the working directory, an absolute one, or a
   * URL. It is bundled with esbuild, the AWS SDK included.
   *
   * @default no worker functions: use `addWorker`, or run `createWorker` in containers with `grants.consume`
   */
  readonly workerEntry?: string | URL | undefined;
  /**
   * Settings of all worker functions.
   *
   * @default 60 s timeout, 512 MB, Node.js 24 on ARM64, batches of 10, the AWS SDK bundled, its own role. A longer timeout lets tasks
   * take longer, and makes those of a crashed function come back later: after six times the timeout. From 3 s to 15 min.
   */
  readonly workerProps?: WorkerProps | undefined;
  /**
   * The lanes to deploy; each is two queues, a function, its poller, and alarms. Tasks of a lane that is left out go to `normal`'s
   * queue, so `normal` must be there.
   *
   * @default all four. Fewer idle at less cost, and share more.
   */
  readonly lanes?: readonly Lane[] | undefined;
  /**
   * The most concurrent executions of a lane's workers, from 2 to 1,000: a number is each lane's.
   *
   * @default 16, 8, 4 and 2, from critical to low. It reserves nothing: the account's concurrency is shared with other functions.
   */
  readonly maxConcurrency?: number | Partial<Readonly<Record<Lane, number>>> | undefined;
  /**
   * Tasks in a lane at which enqueue is refused with `QUEUE_FULL`. Approximate, as SQS's counts are.
   *
   * @default 1,000,000. Lower makes producers feel a stalled worker sooner.
   */
  readonly maxBacklog?: number | Partial<Readonly<Record<Lane, number>>> | undefined;
  /**
   * Encrypts queues, table and bucket.
   *
   * @default keys that AWS owns, at no cost. One of your own costs a dollar a month and a fee a call, and leaves an audit trail.
   */
  readonly encryptionKey?: IKey | undefined;
  /**
   * Where alarms go.
   *
   * @default nowhere: the alarms change state unseen, and synthesis warns of that
   */
  readonly alarmTopic?: ITopic | undefined;
  /**
   * What becomes of table and bucket when the stack is deleted.
   *
   * @default RemovalPolicy.RETAIN: they outlive the stack, and cost what they hold. DESTROY deletes every task's record and payload.
   */
  readonly removalPolicy?: RemovalPolicy | undefined;
  /**
   * What the table can take at once, before it has grown by use.
   *
   * @default DynamoDB's own, 4,000 writes and 12,000 reads a second. More costs once, when it is set, and can only be raised.
   */
  readonly warmThroughput?: WarmThroughput | undefined;
  /**
   * The queues' visibility timeout.
   *
   * @default 6 × the longest timeout of a worker function, plus its batching window: the least that is safe. A timeout or window that is a
   * CloudFormation parameter needs it given.
   */
  readonly visibilityTimeout?: Duration | undefined;
  /**
   * How long the log groups of workers and scheduler keep lines.
   *
   * @default RetentionDays.ONE_MONTH
   */
  readonly logRetention?: RetentionDays | undefined;
  /**
   * The task definitions that the workers handle, for one check: that each task's timeout is below that of the functions which serve its
   * lane. A producer that enqueues it to another lane is not seen.
   *
   * @default not checked until a worker starts
   */
  readonly tasks?: readonly DeployedTask[] | undefined;
  /**
   * Parts to leave out, because an emulator refuses them. None should be on AWS.
   *
   * @default nothing
   */
  readonly without?: readonly LeftOut[] | undefined;
}
