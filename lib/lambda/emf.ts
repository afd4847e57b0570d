import type { TasklaneEvent } from "../task/events.ts";
import { OTHER_TASKS } from "../task/counters.ts";
import type { GaugeMetric, TaskMetric } from "../task/metrics.ts";
import { GAUGE_METRICS, METRIC_NAMESPACE, QUEUE_DIMENSION, TASK_DIMENSION, TASK_METRICS } from "../task/metrics.ts";

/** CloudWatch takes this many values of one metric in a line. https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html */
const VALUES_MAX = 100;

/** So many names get metrics of their own where nobody says which. */
const NAMES_MAX = 100;

/** What was taken in of one task. */
interface Taken {
  readonly counts: Partial<Record<TaskMetric, number>>;
  /** Each value by itself, so that CloudWatch can tell percentiles. */
  readonly times: Partial<Record<TaskMetric, number[]>>;
}

/** Adds up what happened to tasks, and writes it as lines in CloudWatch's embedded metric format: no call, no permission. */
export class TaskMetrics {
  readonly #queue: string;
  readonly #names: ReadonlySet<string> | undefined;
  readonly #seen = new Set<string>();
  readonly #tasks = new Map<string, Taken>();

  /**
   * @param names the tasks that get metrics of their own; all others share one name, since CloudWatch bills each and messages may name
   * anything. Default: the first hundred that come
   */
  constructor(queue: string, names?: ReadonlySet<string>) {
    this.#queue = queue;
    this.#names = names;
  }

  /** Takes an event in. */
  add(event: TasklaneEvent): void {
    if (event.type === "attempt-started") this.#note(event.task, "WaitTime", event.waitMs);
    else if (event.type === "deferred") this.#count(event.task, "Deferred");
    else if (event.type === "dead") this.#count(event.task, "DeadLettered");
    else if (event.type === "attempt-ended") {
      this.#note(event.task, "RunTime", event.runMs);
      if (event.outcome === "succeeded") this.#count(event.task, "Succeeded");
      if (event.outcome === "retry" || event.outcome === "dead") this.#count(event.task, "Failed");
    }
  }

  /** What was taken in since the last time: a line for each task, and further ones for times that have no place in it. `at` is milliseconds since 1970. */
  take(at: number): string[] {
    const lines = [...this.#tasks].flatMap(([task, taken]) =>
      linesOf(taken).map((values) =>
        writeLine(
          at,
          { [QUEUE_DIMENSION]: this.#queue, [TASK_DIMENSION]: task },
          [[QUEUE_DIMENSION], [QUEUE_DIMENSION, TASK_DIMENSION]],
          values,
        ),
      ),
    );
    this.#tasks.clear();
    return lines;
  }

  #count(task: string, metric: TaskMetric): void {
    const { counts } = this.#of(task);
    counts[metric] = (counts[metric] ?? 0) + 1;
  }

  #note(task: string, metric: TaskMetric, value: number): void {
    (this.#of(task).times[metric] ??= []).push(Math.round(value));
  }

  #isNamed(name: string): boolean {
    if (this.#names !== undefined) return this.#names.has(name);
    if (this.#seen.size < NAMES_MAX) this.#seen.add(name);
    return this.#seen.has(name);
  }

  #of(name: string): Taken {
    const task = this.#isNamed(name) ? name : OTHER_TASKS;
    const taken = this.#tasks.get(task) ?? { counts: {}, times: {} };
    this.#tasks.set(task, taken);
    return taken;
  }
}

/** The line that carries the scheduler's gauges. */
export function gaugeLine(at: number, queue: string, gauges: Partial<Readonly<Record<GaugeMetric, number>>>): string {
  return writeLine(at, { [QUEUE_DIMENSION]: queue }, [[QUEUE_DIMENSION]], gauges);
}

type Values = Readonly<Record<string, number | readonly number[]>>;

/** Spreads more times than a line may hold over several. The counts go with the first, so that they are counted once. */
function linesOf({ counts, times }: Taken): Values[] {
  const longest = Math.max(0, ...Object.values(times).map((values) => values.length));
  return Array.from({ length: Math.max(1, Math.ceil(longest / VALUES_MAX)) }, (_, place) => {
    const parts = Object.entries(times).map(
      ([name, values]) => [name, values.slice(place * VALUES_MAX, (place + 1) * VALUES_MAX)] as const,
    );
    return { ...(place === 0 ? counts : {}), ...Object.fromEntries(parts.filter(([, values]) => values.length > 0)) };
  });
}

function writeLine(
  at: number,
  dimensions: Readonly<Record<string, string>>,
  sets: readonly (readonly string[])[],
  values: Values,
): string {
  const metrics = Object.keys(values).map((name) => ({ Name: name, Unit: UNITS[name]?.unit ?? "None" }));
  return JSON.stringify({
    _aws: {
      Timestamp: Math.round(at),
      CloudWatchMetrics: [{ Namespace: METRIC_NAMESPACE, Dimensions: sets, Metrics: metrics }],
    },
    ...dimensions,
    ...values,
  });
}

const UNITS: Readonly<Record<string, { readonly unit: string } | undefined>> = { ...TASK_METRICS, ...GAUGE_METRICS };
