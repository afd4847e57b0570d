/** A priority tier: an SQS queue, its dead letter queue, and its own share of every worker. */
export type Lane = "critical" | "high" | "normal" | "low";

/** The lanes, most urgent first. */
export const LANES: readonly Lane[] = ["critical", "high", "normal", "low"];

/** How many of a worker's slots each lane owns, relative to the others. A preference, never starvation. */
export const LANE_WEIGHTS: Readonly<Record<Lane, number>> = { critical: 8, high: 4, normal: 2, low: 1 };

/** Tells whether a value names a lane. */
export function isLane(value: unknown): value is Lane {
  return typeof value === "string" && (LANES as readonly string[]).includes(value);
}
