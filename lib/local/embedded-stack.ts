import type { Server } from "node:http";
import { createRequire } from "node:module";
import type { AddressInfo } from "node:net";
import type * as Fauxqs from "fauxqs";
import { TasklaneError } from "../task/errors.ts";
import { runtimeTooOld } from "../task/runtime.ts";
import type { Endpoints } from "../task/topology.ts";

/** How to start the embedded stack. */
export interface EmbeddedStackOptions {
  /** Port of SQS and S3. Default: a free one. */
  readonly sqsPort?: number | undefined;
  /** Port of DynamoDB. Default: a free one. */
  readonly dynamodbPort?: number | undefined;
}

/** SQS, DynamoDB and S3 in this process, on 127.0.0.1, with everything in memory. */
export interface EmbeddedStack {
  readonly endpoints: Endpoints;
  /** Stops both servers and forgets everything. */
  close(): Promise<void>;
}

const HOST = "127.0.0.1";
/** How long a new table is not ready, as at AWS, but short. */
const CREATE_TABLE_MS = 1;
const INSTALL = "npm install --save-dev fauxqs dynalite";

/**
 * Starts the emulators. Clients reach them by the endpoints with the credentials `test` / `test` and the region `us-east-1`.
 *
 * @throws TasklaneError `LOCAL_STACK_MISSING` if fauxqs or dynalite is not installed, `RUNTIME_TOO_OLD`
 */
export async function startEmbeddedStack(options: EmbeddedStackOptions = {}): Promise<EmbeddedStack> {
  const makeDynalite = loadDynalite();
  const { buildApp } = await loadFauxqs();
  // Its own start function listens on every interface; the app it builds does as it is told.
  const fauxqs = buildApp({ logger: false });
  await fauxqs.listen({ host: HOST, port: options.sqsPort ?? 0 });
  const dynalite = makeDynalite({ createTableMs: CREATE_TABLE_MS });
  try {
    surviveAbortedRequests(dynalite);
    await listen(dynalite, options.dynamodbPort ?? 0);
  } catch (error) {
    await fauxqs.close();
    throw error;
  }
  const sqs = urlOf(fauxqs.server);
  return {
    endpoints: { sqs, dynamodb: urlOf(dynalite), s3: sqs },
    close: async () => {
      await Promise.all([fauxqs.close(), closeServer(dynalite)]);
    },
  };
}

type MakeDynalite = (options: { createTableMs: number }) => Server;

/** dynalite is CommonJS and has no types. */
function loadDynalite(): MakeDynalite {
  const require = createRequire(import.meta.url);
  let loaded: unknown;
  try {
    loaded = require("dynalite");
  } catch (error) {
    throw missing("dynalite", error);
  }
  if (isMakeDynalite(loaded)) return loaded;
  throw missing("dynalite", loaded);
}

function isMakeDynalite(value: unknown): value is MakeDynalite {
  return typeof value === "function";
}

async function loadFauxqs(): Promise<typeof Fauxqs> {
  try {
    return await import("fauxqs");
  } catch (error) {
    throw missing("fauxqs", error);
  }
}

function missing(name: string, cause: unknown): TasklaneError {
  // It is there, and wants more of Node than this one has.
  if (cause instanceof Error && "code" in cause && cause.code === "ERR_UNKNOWN_BUILTIN_MODULE")
    return runtimeTooOld(name, cause);
  return new TasklaneError("LOCAL_STACK_MISSING", {
    what: `The embedded stack needs ${name}, which cannot be loaded`,
    fix: INSTALL,
    cause,
  });
}

/**
 * dynalite throws the error of a request whose client went away, which would end this process whenever a client is killed
 * in the middle of a call. Its listener goes as soon as it is set.
 */
function surviveAbortedRequests(server: Server): void {
  server.on("request", (request) => {
    request.removeAllListeners("error");
    request.on("error", () => undefined);
  });
}

function listen(server: Server, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, HOST, () => {
      server.off("error", reject);
      resolve();
    });
  });
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve, reject) => {
    server.close((error) => (error === undefined || error === null ? resolve() : reject(error)));
    // Kept-alive connections of clients would hold it open.
    server.closeAllConnections();
  });
}

function urlOf(server: Server): string {
  const address: AddressInfo | string | null = server.address();
  if (address === null || typeof address === "string") throw new Error("the embedded stack has no port");
  return `http://${HOST}:${address.port}`;
}
