import type { ContainerDefinition } from "aws-cdk-lib/aws-ecs";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { TasklaneError } from "../lib/task/errors.ts";
import { TOPOLOGY_VARIABLE, topologyVariable } from "../lib/task/topology.ts";

/** What takes environment variables: a function, or a container of a task definition. */
export type ProducerTarget = LambdaFunction | ContainerDefinition;

/** The variables that were set so far, with the queue of each. */
const taken = new WeakMap<ProducerTarget, Map<string, string>>();
/** The functions that run a queue's tasks, with the name of it. */
const served = new WeakMap<ProducerTarget, string>();

/** The name of the queue whose tasks a function was made to run. */
export function queueServedBy(target: ProducerTarget): string | undefined {
  return served.get(target);
}

/**
 * Gives a queue's topology to a function or container: as `TASKLANE_TOPOLOGY`, or, where another queue has that already, as
 * `TASKLANE_TOPOLOGY_<QUEUE>`, which `createClient({ queue })` looks at first.
 *
 * @throws TasklaneError `DEFINITION_INVALID` where the target has a queue of that name, or one that is looked up under the same variable;
 * `OPTION_INVALID` where it takes no variables
 */
export function setTopologyVariable(target: ProducerTarget, queueName: string, topology: string): void {
  if (typeof Reflect.get(target, "addEnvironment") !== "function")
    throw new TasklaneError("OPTION_INVALID", {
      what: `${target.node.path} takes no environment variable, so it cannot be told of queue "${queueName}"`,
      expected: "a Function of this app, or a container: no alias, no version, and none that is imported",
      fix: "add the function itself; to one of another app give queue.grants.enqueue, and queue.topology in TASKLANE_TOPOLOGY",
    });
  const variables = taken.get(target) ?? new Map<string, string>();
  const twin = [...variables.values()].find((other) => topologyVariable(other) === topologyVariable(queueName));
  if (twin !== undefined)
    throw new TasklaneError("DEFINITION_INVALID", {
      what:
        twin === queueName
          ? `${target.node.path} has the topology of a queue "${queueName}" already`
          : `${target.node.path} cannot tell queue "${queueName}" from "${twin}": the topology of both is looked up as ${topologyVariable(twin)}`,
      received: [...variables.keys()],
      expected: "each queue once, under names of their own",
      fix: "give one of two queues another queueName, or call addProducer and addWorker once for each",
    });
  const name = variables.has(TOPOLOGY_VARIABLE) ? topologyVariable(queueName) : TOPOLOGY_VARIABLE;
  taken.set(target, variables.set(name, queueName));
  target.addEnvironment(name, topology);
}

/**
 * Gives a worker function the topology of its queue, as `TASKLANE_TOPOLOGY`: that is the queue `createLambdaWorker` takes for its own, and
 * the tasks of any other die there.
 *
 * @throws TasklaneError `DEPLOYMENT_UNSAFE` where another queue has the variable
 */
export function setWorkerVariable(target: LambdaFunction, queueName: string, topology: string): void {
  const other = taken.get(target)?.get(TOPOLOGY_VARIABLE);
  if (other !== undefined && other !== queueName)
    throw new TasklaneError("DEPLOYMENT_UNSAFE", {
      what: `${target.node.path} cannot run the tasks of queue "${queueName}": it takes queue "${other}" for its own, so they would die as WRONG_QUEUE`,
      received: `${TOPOLOGY_VARIABLE} of queue "${other}"`,
      expected: `that of queue "${queueName}"`,
      fix:
        served.get(target) === other
          ? "make a function for each queue, of the same code if you like, and add each with queue.addWorker"
          : `call addWorker first, then addProducer of the other queue, which its code finds with createClient({ queue: "${other}" })`,
    });
  setTopologyVariable(target, queueName, topology);
  served.set(target, queueName);
}
