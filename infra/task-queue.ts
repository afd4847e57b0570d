import { CfnOutput, Duration, RemovalPolicy, Stack } from "aws-cdk-lib";
import type { Table } from "aws-cdk-lib/aws-dynamodb";
import type { IGrantable, IPrincipal } from "aws-cdk-lib/aws-iam";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import type { NodejsFunction } from "aws-cdk-lib/aws-lambda-nodejs";
import { RetentionDays } from "aws-cdk-lib/aws-logs";
import type { Bucket } from "aws-cdk-lib/aws-s3";
import type { ITopic } from "aws-cdk-lib/aws-sns";
import type { Construct } from "constructs";
import { TasklaneError } from "../lib/task/errors.ts";
import type { Lane } from "../lib/task/lane.ts";
import type { Topology } from "../lib/task/topology.ts";
import { settleSpec } from "../lib/task/topology.ts";
import { addAlarms, addWorkerAlarms } from "./alarms.ts";
import type { QueueDashboard } from "./dashboard.ts";
import { addDashboard } from "./dashboard.ts";
import { readFacts } from "./deployed-facts.ts";
import { addEventSource, allowRecursion, checkBatches, settleConcurrency } from "./event-sources.ts";
import type { GrantTargets } from "./grants.ts";
import { grantSchedule, TaskQueueGrants } from "./grants.ts";
import type { ImportOptions } from "./imported-task-queue.ts";
import { ImportedTaskQueue, readDeployedTopology } from "./imported-task-queue.ts";
import type { LaneQueues } from "./lane-queues.ts";
import { makeLaneQueues, queueResource } from "./lane-queues.ts";
import { makeLedgerTable } from "./ledger-table.ts";
import { makePayloadBucket } from "./payload-bucket.ts";
import { checkQueueProps, checkWorkerOptions } from "./prop-checks.ts";
import { makeSchedulerFunction } from "./scheduler-function.ts";
import { checkQueue, VISIBILITY_TIMEOUTS } from "./synth-checks.ts";
import { warnOfLongTopology, warnOfSameName } from "./synth-warnings.ts";
import type { AddWorkerOptions, TaskQueueProps } from "./task-queue-props.ts";
import { TaskQueueReference } from "./task-queue-reference.ts";
import { setWorkerVariable } from "./topology-variable.ts";
import { makeWorkerFunctions, WORKER_TIMEOUT_SECONDS } from "./worker-functions.ts";
import { WorkersPrincipal } from "./workers-principal.ts";

/** Lambda's own default, for functions that were made without a timeout. */
const FUNCTION_TIMEOUT_SECONDS = 3;

/**
 * A task queue: queues and workers for each lane, the ledger, the payload bucket, the scheduler, alarms and a dashboard.
 *
 * As a grantee it stands for all its workers: `ordersTable.grantReadWriteData(queue)`.
 *
 * ```ts
 * const queue = new TaskQueue(this, "Tasks", { workerEntry: "functions/worker.ts" });
 * queue.addProducer(api);
 * ```
 */
export class TaskQueue extends TaskQueueReference implements IGrantable {
  /**
   * A queue that was made elsewhere, by its topology: an object, or the text of a cdk outputs file or of the output `Topology`. A queue of
   * the same app needs none of this: its own `addProducer` and `grants` reach other stacks.
   *
   * @throws TasklaneError `TOPOLOGY_INVALID`; `TOPOLOGY_MISSING` if it is not that of `queueName`
   */
  static fromTopology(
    scope: Construct,
    id: string,
    topology: Topology | string,
    options: ImportOptions = {},
  ): TaskQueueReference {
    const read = readDeployedTopology(topology, `${scope.node.path}/${id}`, options.queueName);
    return new ImportedTaskQueue(scope, id, read, options);
  }

  readonly queueName: string;
  readonly grants: TaskQueueGrants;
  readonly grantPrincipal: IPrincipal;
  /** The queues of each deployed lane. */
  readonly lanes: Partial<Readonly<Record<Lane, LaneQueues>>>;
  /** The ledger. */
  readonly table: Table;
  /** Where payloads lie that are too large for the ledger. */
  readonly bucket: Bucket;
  /** The functions made of `workerEntry`, by lane. */
  readonly workers: Partial<Readonly<Record<Lane, NodejsFunction>>>;
  readonly scheduler: LambdaFunction;
  protected readonly parts: Topology;
  protected readonly sqsNames: Partial<Readonly<Record<Lane, string>>>;

  readonly #principal: WorkersPrincipal;
  readonly #deployed: readonly LaneQueues[];
  readonly #maxConcurrency: Readonly<Record<Lane, number>>;
  readonly #visibilityGiven: Duration | undefined;
  readonly #alarms: { readonly topic: ITopic | undefined } | undefined;
  readonly #dashboard: QueueDashboard | undefined;
  #visibilitySeconds = 0;

  constructor(scope: Construct, id: string, props: TaskQueueProps = {}) {
    super(scope, id);
    checkQueueProps(this.node.path, props);
    const { queue, lanes, maxBacklog } = settleSpec({
      queue: props.queueName,
      lanes: props.lanes,
      maxBacklog: props.maxBacklog,
    });
    const isIn = (part: NonNullable<TaskQueueProps["without"]>[number]): boolean => !props.without?.includes(part);
    const { encryptionKey, removalPolicy = RemovalPolicy.RETAIN, logRetention = RetentionDays.ONE_MONTH } = props;
    this.queueName = queue;
    this.#maxConcurrency = settleConcurrency(this.node.path, props.maxConcurrency);
    this.#visibilityGiven = props.visibilityTimeout;

    const visibilityTimeout = props.visibilityTimeout ?? Duration.seconds(VISIBILITY_TIMEOUTS * WORKER_TIMEOUT_SECONDS);
    this.#deployed = lanes.map((lane) => makeLaneQueues(this, lane, { visibilityTimeout, encryptionKey }));
    this.lanes = Object.fromEntries(this.#deployed.map((each) => [each.lane, each]));
    this.table = makeLedgerTable(this, {
      removalPolicy,
      encryptionKey,
      pointInTimeRecovery: isIn("pointInTimeRecovery"),
      warmThroughput: props.warmThroughput,
    });
    this.bucket = makePayloadBucket(this, {
      removalPolicy,
      encryptionKey,
      autoDeleteObjects: isIn("autoDeleteObjects"),
    });

    this.sqsNames = Object.fromEntries(this.#deployed.map((each) => [each.lane, each.queue.queueName]));
    this.parts = {
      queue,
      region: Stack.of(this).region,
      lanes: Object.fromEntries(
        this.#deployed.map(({ lane, queue: { queueUrl }, deadLetterQueue }) => [
          lane,
          { url: queueUrl, dlq: deadLetterQueue.queueUrl, maxBacklog: maxBacklog[lane] },
        ]),
      ),
      table: this.table.tableName,
      bucket: this.bucket.bucketName,
    };
    const targets: GrantTargets = {
      queueArns: this.#deployed.map((each) => each.queue.queueArn),
      deadLetterQueueArns: this.#deployed.map((each) => each.deadLetterQueue.queueArn),
      tableArn: this.table.tableArn,
      bucketArn: this.bucket.bucketArn,
      encryptionKey,
    };
    this.grants = new TaskQueueGrants(targets);

    this.scheduler = makeSchedulerFunction(this, logRetention);
    setWorkerVariable(this.scheduler, queue, this.topology);
    grantSchedule(targets, this.scheduler);

    this.#principal = new WorkersPrincipal(this.node.path);
    this.grantPrincipal = this.#principal;
    const { workerEntry: entry, workerProps = {} } = props;
    this.workers =
      entry === undefined ? {} : makeWorkerFunctions(this, { entry, lanes, logRetention, props: workerProps });
    this.#alarms = isIn("alarms") ? { topic: props.alarmTopic } : undefined;
    this.#dashboard = isIn("dashboard") ? addDashboard(this, this.#deployed) : undefined;
    const { batchSize, maxBatchingWindow } = workerProps;
    for (const { lane } of this.#deployed) {
      const worker = this.workers[lane];
      if (worker !== undefined) this.addWorker(worker, { batchSize, maxBatchingWindow, lanes: [lane] });
    }

    new CfnOutput(this, "Topology", {
      value: this.topology,
      description: `Queue "${queue}": for TASKLANE_TOPOLOGY, or createClient({ topology }).`,
    });
    if (this.#alarms !== undefined)
      addAlarms(this, { lanes: this.#deployed, maxBacklog, metricMath: isIn("metricMath"), ...this.#alarms });
    warnOfSameName(this);
    warnOfLongTopology(this, this.parts, this.#deployed);
    this.node.addValidation({ validate: () => this.#check(props) });
  }

  /**
   * Lets a function of yours run tasks: it gets the permissions, the topology as `TASKLANE_TOPOLOGY`, an event source for each of its lanes,
   * alarms, and leave to send messages to the queue that starts it. Its handler is what `createLambdaWorker` answers. A function runs the
   * tasks of one queue.
   *
   * @throws TasklaneError `OPTION_INVALID`, `DEFINITION_INVALID`, `DEPLOYMENT_UNSAFE`
   */
  addWorker(worker: LambdaFunction, options: AddWorkerOptions = {}): void {
    const { path } = worker.node;
    const { batchSize, maxBatchingWindow } = options;
    checkWorkerOptions(path, options);
    checkBatches(path, options);
    const concurrency = settleConcurrency(path, options.maxConcurrency, this.#maxConcurrency);
    const lanes = (options.lanes ?? this.#deployed.map(({ lane }) => lane)).map((lane) => this.#findLane(lane, path));
    allowRecursion(this.node.path, worker);
    this.#coverTimeout(worker, maxBatchingWindow);
    setWorkerVariable(worker, this.queueName, Stack.of(worker).toJsonString(this.parts));
    const grant = this.grants.consume(worker);
    this.#principal.add(worker);
    for (const queues of lanes)
      addEventSource(worker, queues, { batchSize, maxBatchingWindow, maxConcurrency: concurrency[queues.lane], grant });
    if (this.#alarms !== undefined)
      addWorkerAlarms(this, worker, { isOwn: Object.values(this.workers).includes(worker), ...this.#alarms });
    this.#dashboard?.addWorker(worker);
  }

  #findLane(lane: Lane, worker: string): LaneQueues {
    const queues = this.lanes[lane];
    if (queues !== undefined) return queues;
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `${worker} is to serve a lane that ${this.node.path} does not have`,
      received: lane,
      expected: `one of ${Object.keys(this.lanes).join(", ")}`,
      fix: "add the lane to the queue's lanes; without it, its tasks are in normal's queue",
    });
  }

  /** A message must stay hidden until its function has surely ended, so the longest worker decides. */
  #coverTimeout(worker: LambdaFunction, window: Duration = Duration.seconds(0)): void {
    if (this.#visibilityGiven !== undefined) return;
    const timeout = worker.timeout ?? Duration.seconds(FUNCTION_TIMEOUT_SECONDS);
    if (timeout.isUnresolved() || window.isUnresolved())
      throw new TasklaneError("DEPLOYMENT_UNSAFE", {
        what: `The timeout or the batching window of ${worker.node.path} is known to the deploy alone, so the visibility timeout of ${this.node.path} cannot follow it`,
        expected: "a visibilityTimeout that covers it",
        fix: `give the queue visibilityTimeout: ${VISIBILITY_TIMEOUTS} × the longest timeout that may be deployed, plus the window`,
      });
    const seconds = VISIBILITY_TIMEOUTS * timeout.toSeconds() + window.toSeconds();
    if (seconds <= this.#visibilitySeconds) return;
    this.#visibilitySeconds = seconds;
    for (const { queue } of this.#deployed) queueResource(queue).visibilityTimeout = seconds;
  }

  /** Throws what is wrong, rather than answer it, so that whoever synthesises gets a typed error. */
  #check(props: TaskQueueProps): string[] {
    this.#principal.check();
    checkQueue(readFacts(this.queueName, this.#deployed, props.tasks ?? []));
    return [];
  }
}
