import type { IncomingHttpHeaders, IncomingMessage, ServerResponse } from "node:http";
import { createServer, request as sendRequest } from "node:http";
import type { AddressInfo } from "node:net";

/** A request on its way through the proxy. */
export interface ProxiedCall {
  /** As in `DynamoDB_20120810.PutItem` or `AmazonSQS.SendMessageBatch`; for S3 the method and path. */
  readonly name: string;
  readonly headers: IncomingHttpHeaders;
  readonly body: Buffer;
}

/** A whole answer, or one that breaks off. */
export interface Reply {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
  /** The connection breaks after so many bytes of the body. Default: it does not. */
  readonly breaksAt?: number | undefined;
}

/**
 * Decides what becomes of a request: its answer, which `forward` fetches from the service, or `"hang-up"`: the connection
 * breaks, before or after the service did its work.
 */
export type Interference = (
  call: ProxiedCall,
  forward: (body?: Buffer) => Promise<Reply>,
) => Promise<Reply | "hang-up">;

/** A proxy on 127.0.0.1 between a real SDK client and a real service. */
export interface InterferingProxy {
  readonly url: string;
  /** Every request that came, in its order. */
  readonly calls: ProxiedCall[];
  /** How many requests of this name came. */
  count(name: string): number;
  /** Replaces the interference; none = everything passes. */
  interfere(interference?: Interference): void;
  close(): Promise<void>;
}

const pass: Interference = (_, forward) => forward();

/** Starts a proxy before a service. */
export async function startProxy(upstream: string): Promise<InterferingProxy> {
  const calls: ProxiedCall[] = [];
  let current: Interference = pass;
  const server = createServer((request, response) => {
    void serve(request, response).catch(() => response.destroy());
  });

  async function serve(request: IncomingMessage, response: ServerResponse): Promise<void> {
    const body = await readAll(request);
    const target = request.headers["x-amz-target"];
    const name = typeof target === "string" ? target : `${request.method} ${request.url}`;
    const call = { name, headers: request.headers, body };
    calls.push(call);
    const reply = await current(call, (other = body) => forward(upstream, request, other));
    if (reply === "hang-up") {
      response.destroy();
      return;
    }
    const { "transfer-encoding": _, "content-length": __, connection: ___, ...headers } = reply.headers;
    response.writeHead(reply.status, { ...headers, "content-length": reply.body.length });
    if (reply.breaksAt === undefined) response.end(reply.body);
    else response.write(reply.body.subarray(0, reply.breaksAt), () => response.destroy());
  }

  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  return {
    url: `http://127.0.0.1:${port}`,
    calls,
    count: (name) => calls.filter((call) => call.name.includes(name)).length,
    interfere: (interference = pass) => {
      current = interference;
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}

/** An answer in the JSON protocol of SQS and DynamoDB. */
export function jsonReply(status: number, value: unknown): Reply {
  return {
    status,
    headers: { "content-type": "application/x-amz-json-1.0" },
    body: Buffer.from(JSON.stringify(value)),
  };
}

/** An error of S3. */
export function s3Error(status: number, code: string, message = code): Reply {
  const text = message.replaceAll('"', "&quot;");
  const body = `<?xml version="1.0" encoding="UTF-8"?><Error><Code>${code}</Code><Message>${text}</Message></Error>`;
  return { status, headers: { "content-type": "application/xml" }, body: Buffer.from(body) };
}

/** What S3 answers since 2024 to a request that its own account's policies do not allow, in AWS's words. */
export function s3Denied(action: string, resource: string): Reply {
  const user = "arn:aws:sts::111122223333:assumed-role/worker/worker";
  return s3Error(
    403,
    "AccessDenied",
    `User: ${user} is not authorized to perform: ${action} on resource: "${resource}" because no identity-based policy allows the ${action} action`,
  );
}

async function readAll(stream: IncomingMessage): Promise<Buffer> {
  const parts: Buffer[] = [];
  for await (const part of stream) parts.push(part as Buffer);
  return Buffer.concat(parts);
}

function forward(upstream: string, request: IncomingMessage, body: Buffer): Promise<Reply> {
  const headers: IncomingHttpHeaders = { ...request.headers, "content-length": String(body.length) };
  delete headers["transfer-encoding"];
  delete headers.expect;
  return new Promise((resolve, reject) => {
    const outgoing = sendRequest(
      new URL(request.url ?? "/", upstream),
      { method: request.method, headers },
      (answer) => {
        readAll(answer).then(
          (whole) => resolve({ status: answer.statusCode ?? 500, headers: answer.headers, body: whole }),
          reject,
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end(body);
  });
}
