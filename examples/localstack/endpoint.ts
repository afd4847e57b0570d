import { startLocal } from "tasklane/testing";

/** LocalStack where it is given, else the embedded stack: the same test runs on both. */
export const endpoint = process.env["AWS_ENDPOINT_URL"] ?? (await startLocal()).topology.endpoint;
