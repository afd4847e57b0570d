import { hostname } from "node:os";
import type { Json } from "../task/json.ts";

/** Who enqueues, as every task's meta tells. */
export interface Submitter {
  /** Default: `OTEL_SERVICE_NAME`, the function's name, or the npm package's. */
  service?: string | undefined;
  /** Default: the function's version, or the npm package's. */
  version?: string | undefined;
}

/** The part of meta that tells where a task came from. */
export function submitterMeta(
  given: Submitter | undefined,
  env: Readonly<Record<string, string | undefined>>,
): Record<string, Json> {
  const service =
    given?.service ?? env["OTEL_SERVICE_NAME"] ?? env["AWS_LAMBDA_FUNCTION_NAME"] ?? env["npm_package_name"];
  const version = given?.version ?? env["AWS_LAMBDA_FUNCTION_VERSION"] ?? env["npm_package_version"];
  const meta: Record<string, Json> = { host: hostname().slice(0, 40) };
  if (service !== undefined) meta["service"] = service.slice(0, 40);
  if (version !== undefined) meta["version"] = version.slice(0, 20);
  return meta;
}
