import type { ContainerDefinition } from "aws-cdk-lib/aws-ecs";
import type { Function as LambdaFunction } from "aws-cdk-lib/aws-lambda";
import { TasklaneError } from "../lib/task/errors.ts";

const VARIABLE = "TASKLANE_TOPOLOGY";

/** What takes environment variables: a function, or a container of a task definition. */
export type ProducerTarget = LambdaFunction | ContainerDefinition;

/** The variables that were set so far, with the queue of each. */
const taken = new WeakMap<ProducerTarget, Map<string, string>>();

/**
 * Gives a queue's topology to a function or container: as `TASKLANE_TOPOLOGY`, or, where another queue has that already, as
 * `TASKLANE_TOPOLOGY_<QUEUE>`, which `createClient({ queue })` looks at first.
 */
export function setTopologyVariable(target: ProducerTarget, queueName: string, topology: string): void {
  const variables = taken.get(target) ?? new Map<string, string>();
  taken.set(target, variables);
  if ([...variables.values()].includes(queueName))
    throw new TasklaneError("DEFINITION_INVALID", {
      what: `${target.node.path} has the topology of a queue "${queueName}" already`,
      received: [...variables.keys()],
      expected: "each queue once, under names of their own",
      fix: "give one of two queues another queueName, or call addProducer and addWorker once for each",
    });
  const name = variables.has(VARIABLE) ? `${VARIABLE}_${queueName.toUpperCase().replace(/[^A-Z0-9]/g, "_")}` : VARIABLE;
  variables.set(name, queueName);
  target.addEnvironment(name, topology);
}
