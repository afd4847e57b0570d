import type { Clock } from "../ports/clock.ts";
import type { Queue } from "../ports/queue.ts";
import { QueueFullError } from "../task/errors.ts";
import type { Lane } from "../task/lane.ts";
import { BACKLOG_WARNING_RATIO, DEFAULT_MAX_BACKLOG, DEPTH_BUSY_MS, DEPTH_CALM_MS } from "../task/limits.ts";
import type { Topology } from "../task/topology.ts";
import { carrierOf } from "../task/topology.ts";

interface KnownDepth {
  backlog: number;
  readAt: number;
  warned: boolean;
}

/** What the producer is told of a lane that fills up. */
export interface BackpressureNotices {
  warn(lane: Lane, backlog: number, maxBacklog: number): void;
  unknown(lane: Lane, error: unknown): void;
}

/**
 * Keeps producers from filling a lane beyond its limit. The depth is SQS's own approximate count, cached for a minute while
 * the lane is below half of its limit and for seconds above; what this process sends meanwhile is added. So the limit is
 * approximate too: several producers can pass it together by what they send between two looks.
 */
export class Backpressure {
  readonly #depths = new Map<Lane, KnownDepth>();
  readonly #reading = new Map<Lane, Promise<KnownDepth | undefined>>();
  readonly #queue: Queue;
  readonly #topology: Topology;
  readonly #clock: Clock;
  readonly #notices: BackpressureNotices;

  constructor(queue: Queue, topology: Topology, clock: Clock, notices: BackpressureNotices) {
    this.#queue = queue;
    this.#topology = topology;
    this.#clock = clock;
    this.#notices = notices;
  }

  /**
   * Lets a task into a lane, or refuses it. An unknown depth lets them in: the ledger takes what the queue cannot count.
   *
   * @throws QueueFullError `QUEUE_FULL`
   */
  async admit(wanted: Lane): Promise<void> {
    const { refusal } = await this.admitSome(wanted, 1);
    if (refusal !== undefined) throw refusal;
  }

  /** Lets as many of so many tasks into a lane as there is room for, with the refusal of the others. */
  async admitSome(wanted: Lane, count: number): Promise<{ admitted: number; refusal: QueueFullError | undefined }> {
    const lane = carrierOf(this.#topology, wanted);
    const maxBacklog = this.#topology.lanes[lane]?.maxBacklog ?? DEFAULT_MAX_BACKLOG;
    const depth = await this.#depth(lane, maxBacklog);
    if (depth === undefined) return { admitted: count, refusal: undefined };
    const admitted = Math.max(0, Math.min(count, maxBacklog - depth.backlog));
    depth.backlog += admitted;
    if (depth.backlog >= maxBacklog * BACKLOG_WARNING_RATIO && !depth.warned) {
      // Once for each look at the depth, so that a full lane is no flood of events.
      depth.warned = true;
      this.#notices.warn(lane, depth.backlog, maxBacklog);
    }
    return { admitted, refusal: admitted < count ? this.#full(lane, depth, maxBacklog) : undefined };
  }

  #full(lane: Lane, depth: KnownDepth, maxBacklog: number): QueueFullError {
    const retryAfterMs = Math.max(1_000, depth.readAt + DEPTH_BUSY_MS - this.#clock.monotonic());
    return new QueueFullError(
      {
        what: `Lane "${lane}" is full`,
        received: `about ${depth.backlog} tasks`,
        expected: `at most ${maxBacklog}`,
        fix: "answer HTTP 503 with Retry-After, add workers, or raise maxBacklog",
      },
      retryAfterMs,
    );
  }

  async #depth(lane: Lane, maxBacklog: number): Promise<KnownDepth | undefined> {
    const known = this.#depths.get(lane);
    if (known !== undefined) {
      const goodForMs = known.backlog < maxBacklog / 2 ? DEPTH_CALM_MS : DEPTH_BUSY_MS;
      if (this.#clock.monotonic() - known.readAt < goodForMs) return known;
    }
    const reading = this.#reading.get(lane) ?? this.#read(lane).finally(() => this.#reading.delete(lane));
    this.#reading.set(lane, reading);
    return reading;
  }

  async #read(lane: Lane): Promise<KnownDepth | undefined> {
    try {
      const { visible, delayed, inFlight } = await this.#queue.depth({ lane });
      const depth = { backlog: visible + delayed + inFlight, readAt: this.#clock.monotonic(), warned: false };
      this.#depths.set(lane, depth);
      return depth;
    } catch (error) {
      this.#notices.unknown(lane, error);
      return undefined;
    }
  }
}
