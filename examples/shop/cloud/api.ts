/** The shop's door: takes orders over HTTP and hands the work on. Whoever calls it waits for no task. */
import type { TasklaneClient } from "../../../lib/index.ts";
import { TasklaneError } from "../../../lib/index.ts";
import { chargeCard, makeInvoice, nightlyExport, sendReceipt } from "../tasks.ts";

/** A request as a function URL hands it on. */
export interface ApiRequest {
  readonly rawPath?: string | undefined;
  readonly body?: string | undefined;
  readonly isBase64Encoded?: boolean | undefined;
  readonly requestContext?: { readonly http?: { readonly method?: string | undefined } | undefined } | undefined;
}

/** The answer to it. */
export interface ApiResponse {
  readonly statusCode: number;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

const TASKS = [chargeCard, makeInvoice, sendReceipt, nightlyExport];

/**
 * `POST /orders` takes an order, `POST /exports` a day with its orders, and both answer 202 with the task;
 * `GET /tasks/NAME/ID` says how a task is. A full lane is 503, a refused input 400: the caller learns which.
 */
export async function answerRequest(client: TasklaneClient, request: ApiRequest): Promise<ApiResponse> {
  const method = request.requestContext?.http?.method ?? "GET";
  const [, place = "", name = "", id = ""] = (request.rawPath ?? "/").split("/");
  try {
    if (method === "POST" && place === "orders")
      return accepted(chargeCard.name, await client.enqueue(chargeCard, readBody(request)));
    if (method === "POST" && place === "exports")
      return accepted(nightlyExport.name, await client.enqueue(nightlyExport, readBody(request)));
    const definition = TASKS.find((task) => task.name === name);
    if (method === "GET" && place === "tasks" && definition !== undefined) {
      const { state, attempts, failures, reason } = await client.task(definition, id).get();
      return respond(200, { state, attempts, failures, reason });
    }
    return respond(404, { error: "NOT_FOUND", message: "POST /orders, POST /exports or GET /tasks/NAME/ID" });
  } catch (error) {
    return refused(error);
  }
}

function accepted(name: string, task: { readonly id: string; readonly duplicate: boolean }): ApiResponse {
  return respond(202, { task: name, id: task.id, duplicate: task.duplicate });
}

/** What comes over HTTP has no type yet. The schema judges it: `enqueue` refuses a wrong input with its issues. */
const readBody = ({ body = "", isBase64Encoded }: ApiRequest) => {
  const text = isBase64Encoded === true ? Buffer.from(body, "base64").toString() : body;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new TasklaneError("INPUT_NOT_JSON", { what: "The body of the request is not JSON", cause: error });
  }
};

function refused(error: unknown): ApiResponse {
  if (!TasklaneError.is(error)) throw error;
  const { code, message } = error;
  const status =
    code === "QUEUE_FULL" || code === "BACKEND_UNAVAILABLE" || code === "ENQUEUE_UNKNOWN"
      ? 503
      : code === "IDEMPOTENCY_CONFLICT"
        ? 409
        : code === "TASK_NOT_FOUND"
          ? 404
          : code.startsWith("INPUT_") || code === "PAYLOAD_TOO_LARGE"
            ? 400
            : 500;
  return respond(status, { error: code, message }, status === 503 ? { "retry-after": "30" } : {});
}

function respond(statusCode: number, body: unknown, headers: Readonly<Record<string, string>> = {}): ApiResponse {
  return { statusCode, headers: { "content-type": "application/json", ...headers }, body: JSON.stringify(body) };
}
