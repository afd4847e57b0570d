import type { TasklaneEvent } from "../task/events.ts";
import type { GaugeMetric, TaskMetric } from "../task/metrics.ts";
import { GAUGE_METRICS, METRIC_NAMESPACE, QUEUE_DIMENSION, TASK_DIMENSION, TASK_METRICS } from "../task/metrics.ts";

/** CloudWatch takes this many values of one metric in a line. https://docs.aws.amazon.com/AmazonCloudWatch/latest/monitoring/CloudWatch_Embedded_Metric_Format_Specification.html */
const VALUES_MAX = 100;

/** Adds up what happened to tasks, and writes it as lines in CloudWatch's embedded metric format: no call, no permission. */
export class TaskMetrics {
  readonly #queue: string;
  readonly #tasks = new Map<string, Partial<Record<TaskMetric, number[]>>>();

  constructor(queue: string) {
    this.#queue = queue;
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

  /** One line for each task, of what was taken in since the last time. `at` is milliseconds since 1970. */
  take(at: number): string[] {
    const lines = [...this.#tasks].map(([task, metrics]) =>
      writeLine(at, {
        dimensions: { [QUEUE_DIMENSION]: this.#queue, [TASK_DIMENSION]: task },
        sets: [[QUEUE_DIMENSION], [QUEUE_DIMENSION, TASK_DIMENSION]],
        metrics: Object.entries(metrics).map(([name, values]) => {
          const [only] = values;
          return { name, unit: unitOf(name), value: values.length === 1 && only !== undefined ? only : values };
        }),
      }),
    );
    this.#tasks.clear();
    return lines;
  }

  #count(task: string, metric: TaskMetric): void {
    const values = this.#valuesOf(task, metric);
    values[0] = (values[0] ?? 0) + 1;
  }

  #note(task: string, metric: TaskMetric, value: number): void {
    const values = this.#valuesOf(task, metric);
    // An invocation runs a batch: more values than CloudWatch takes would be an unusual one, and the first hundred tell enough.
    if (values.length < VALUES_MAX) values.push(Math.round(value));
  }

  #valuesOf(task: string, metric: TaskMetric): number[] {
    const metrics = this.#tasks.get(task) ?? {};
    this.#tasks.set(task, metrics);
    return (metrics[metric] ??= []);
  }
}

/** The line that carries the scheduler's gauges. */
export function gaugeLine(at: number, queue: string, gauges: Partial<Readonly<Record<GaugeMetric, number>>>): string {
  return writeLine(at, {
    dimensions: { [QUEUE_DIMENSION]: queue },
    sets: [[QUEUE_DIMENSION]],
    metrics: Object.entries(gauges).map(([name, value]) => ({ name, unit: unitOf(name), value })),
  });
}

interface Line {
  readonly dimensions: Readonly<Record<string, string>>;
  readonly sets: readonly (readonly string[])[];
  readonly metrics: readonly { readonly name: string; readonly unit: string; readonly value: number | number[] }[];
}

function writeLine(at: number, { dimensions, sets, metrics }: Line): string {
  return JSON.stringify({
    _aws: {
      Timestamp: Math.round(at),
      CloudWatchMetrics: [
        {
          Namespace: METRIC_NAMESPACE,
          Dimensions: sets,
          Metrics: metrics.map(({ name, unit }) => ({ Name: name, Unit: unit })),
        },
      ],
    },
    ...dimensions,
    ...Object.fromEntries(metrics.map(({ name, value }) => [name, value])),
  });
}

const UNITS: Readonly<Record<string, { readonly unit: string } | undefined>> = { ...TASK_METRICS, ...GAUGE_METRICS };

function unitOf(name: string): string {
  return UNITS[name]?.unit ?? "None";
}
