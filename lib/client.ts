import { clockOf, connect } from "./connect.ts";
import type { ConnectOptions } from "./connect.ts";
import { listTasks } from "./flow/list.ts";
import type { ListOptions, TaskList } from "./flow/list.ts";
import { Producer } from "./flow/producer.ts";
import type { Services } from "./flow/services.ts";
import { makeServices } from "./flow/services.ts";
import type { Submitter } from "./flow/submitter.ts";
import { taskRef } from "./flow/task-handle.ts";
import type { AnyTask, TaskInput } from "./task/define-task.ts";
import type { EventListener } from "./task/events.ts";
import { checkOptions } from "./task/known-options.ts";
import type { EnqueuedTask, EnqueueEntry, EnqueueOptions, TaskRef } from "./task/task-ref.ts";
import type { Topology } from "./task/topology.ts";

/** How a client finds its queue and behaves. */
export interface ClientOptions extends ConnectOptions {
  /** Default: the environment variable `TASKLANE_TOPOLOGY`, or `TASKLANE_TOPOLOGY_<QUEUE>` if `queue` is given. */
  topology?: Topology | undefined;
  /** Which queue is meant: named, another's topology is refused. Default: the one whose topology there is. */
  queue?: string | undefined;
  /** Named in every task's meta. */
  submitter?: Submitter | undefined;
  /** zstd above 4 KB where it saves a unit. Default true; off keeps payloads readable in the consoles of SQS and DynamoDB. */
  compress?: boolean | undefined;
  onEvent?: EventListener | undefined;
}

/** Puts tasks into a queue, and asks after them. Connects at the first call. */
export interface TasklaneClient {
  /**
   * Takes a task in. Once this resolves, the task will reach exactly one final state.
   *
   * @throws TasklaneError `INPUT_INVALID`, `INPUT_NOT_JSON`, `PAYLOAD_TOO_LARGE`, `IDEMPOTENCY_CONFLICT`, `QUEUE_FULL`, `OPTION_INVALID`,
   * `LIFETIME_TOO_LONG`, `ENQUEUE_UNKNOWN`, `TOPOLOGY_MISSING`, `PERMISSION_DENIED`, `RESOURCE_MISSING`, `BACKEND_UNAVAILABLE`
   */
  enqueue<T extends AnyTask>(task: T, input: NoInfer<TaskInput<T>>, options?: EnqueueOptions): Promise<EnqueuedTask<T>>;
  /**
   * Takes many tasks in, in as few requests as SQS allows, and answers in their order.
   *
   * @throws EnqueueManyError `ENQUEUE_MANY_FAILED` if any was refused; the others are in the queue
   */
  enqueueMany<T extends AnyTask>(task: T, entries: readonly EnqueueEntry<NoInfer<T>>[]): Promise<EnqueuedTask<T>[]>;
  /** A handle on a task. No I/O. */
  task<T extends AnyTask>(task: T, id: string): TaskRef<T>;
  /** Walks over tasks; `since` on the answer says how far back it looks. */
  list(options?: ListOptions): TaskList;
  /** Lets go of sockets, if this client opened them. */
  close(): Promise<void>;
}

const CLIENT_OPTIONS: readonly (keyof ClientOptions)[] = [
  ...(["topology", "queue", "submitter", "compress", "onEvent"] as const),
  ...(["sdk", "clock", "random", "backend"] as const),
];

/** Makes a client. It does no I/O before the first call. @throws TasklaneError `OPTION_INVALID` */
export function createClient(options: ClientOptions = {}): TasklaneClient {
  checkOptions(options, CLIENT_OPTIONS, "OPTION_INVALID", "createClient");
  let connecting: Promise<{ services: Services; producer: Producer }> | undefined;
  const open = async (): Promise<{ services: Services; producer: Producer }> => {
    const connection = await connect(options.topology, options.queue, options);
    const services = makeServices({ ...connection, onEvent: options.onEvent });
    return { services, producer: new Producer(services, { ...options, env: process.env }) };
  };
  const connected = (): Promise<{ services: Services; producer: Producer }> => {
    connecting ??= open().catch((error: unknown) => {
      // A missing variable or package may be there at the next call.
      connecting = undefined;
      throw error;
    });
    return connecting;
  };
  const services = async (): Promise<Services> => (await connected()).services;
  return {
    enqueue: async (task, input, given) => (await connected()).producer.enqueue(task, input, given),
    enqueueMany: async (task, entries) => (await connected()).producer.enqueueMany(task, entries),
    task: (task, id) => taskRef(services, task, id),
    list: (given = {}) => listTasks(services, given, clockOf(options).now()),
    close: async () => {
      if (connecting !== undefined) (await connecting).services.backend.close();
      connecting = undefined;
    },
  };
}
