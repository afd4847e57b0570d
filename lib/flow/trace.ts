import type * as OpenTelemetry from "@opentelemetry/api";

type Api = typeof OpenTelemetry;

let api: Promise<Api | undefined> | undefined;

/** OpenTelemetry's API, if the app has installed it. */
function loadApi(): Promise<Api | undefined> {
  api ??= import("@opentelemetry/api").then(
    (loaded) => loaded,
    () => undefined,
  );
  return api;
}

/** The W3C trace context of the active span, or `undefined` if there is none. https://www.w3.org/TR/trace-context/ */
export async function activeTraceparent(): Promise<string | undefined> {
  const otel = await loadApi();
  const context = otel?.trace.getActiveSpan()?.spanContext();
  if (otel === undefined || context === undefined || !otel.isSpanContextValid(context)) return undefined;
  return `00-${context.traceId}-${context.spanId}-${context.traceFlags.toString(16).padStart(2, "0")}`;
}

/** A W3C trace context: version, trace, span, flags. */
export const TRACEPARENT: RegExp = /^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$/;

/** Runs something within the trace that a producer was in. */
export async function withinTrace<T>(traceparent: string | undefined, run: () => Promise<T>): Promise<T> {
  const match = traceparent === undefined ? null : TRACEPARENT.exec(traceparent);
  const otel = match === null ? undefined : await loadApi();
  if (match === null || otel === undefined) return run();
  const [, traceId = "", spanId = "", flags = "00"] = match;
  const remote = { traceId, spanId, traceFlags: Number.parseInt(flags, 16), isRemote: true };
  return otel.context.with(otel.trace.setSpanContext(otel.context.active(), remote), run);
}
