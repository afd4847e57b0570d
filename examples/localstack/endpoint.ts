import { startLocal } from "tasklane/testing";

const given = process.env["AWS_ENDPOINT_URL"];
const embedded = given === undefined ? await startLocal() : undefined;

/** LocalStack where it is given, else the embedded stack: the same test runs on both. */
export function endpoint() {
  return given ?? embedded?.topology.endpoint;
}
