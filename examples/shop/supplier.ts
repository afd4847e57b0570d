/**
 * The supplier of card payments: an HTTP server that the shop does not control.
 * It allows 20 calls a second, fails now and then, and sometimes charges the card and then drops the connection.
 * Its books are the truth about money: one line for each idempotency key that was charged.
 */
import { appendFileSync } from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { outPath } from "./artifacts.ts";
import { isCardToken } from "./card-token.ts";

/** A line of the supplier's books. */
export interface Charge {
  readonly chargeId: string;
  readonly idempotencyKey: string;
  readonly cents: number;
  readonly at: string;
}

/** What the supplier saw since it started. */
export interface SupplierStats {
  calls: number;
  charged: number;
  repeated: number;
  tooMany: number;
  failed: number;
  dropped: number;
  refused: number;
}

const CALLS_PER_SECOND = 20;
/** More than the shop's own burst, because calls that left one after another may arrive together. */
const BURST_CALLS = 20;
const FAILS_EACH_NTH_CALL = 17;
const DROPS_EACH_NTH_CALL = 23;

const chargeRequest = z.object({ idempotencyKey: z.string().min(1), cents: z.int().positive(), cardToken: z.string() });

const charges = new Map<string, Charge>();
const stats: SupplierStats = { calls: 0, charged: 0, repeated: 0, tooMany: 0, failed: 0, dropped: 0, refused: 0 };

let tokens = BURST_CALLS;
let refilledAtMs = performance.now();

/** Takes a token from the bucket, which fills again as time goes by. */
function takeToken(): boolean {
  const nowMs = performance.now();
  tokens = Math.min(BURST_CALLS, tokens + ((nowMs - refilledAtMs) / 1000) * CALLS_PER_SECOND);
  refilledAtMs = nowMs;
  if (tokens < 1) return false;
  tokens -= 1;
  return true;
}

/** Charges a card once for each key: the second call with a key gets the first one's answer. */
function charge(request: z.infer<typeof chargeRequest>): Charge {
  const earlier = charges.get(request.idempotencyKey);
  if (earlier !== undefined) {
    stats.repeated += 1;
    return earlier;
  }
  const made: Charge = {
    chargeId: `ch_${String(charges.size + 1).padStart(5, "0")}`,
    idempotencyKey: request.idempotencyKey,
    cents: request.cents,
    at: new Date().toISOString(),
  };
  appendFileSync(outPath("supplier-books.jsonl"), `${JSON.stringify(made)}\n`);
  charges.set(made.idempotencyKey, made);
  stats.charged += 1;
  return made;
}

async function postCharge(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const body = await text(request);
  stats.calls += 1;
  if (!takeToken()) {
    stats.tooMany += 1;
    response.setHeader("retry-after", "1");
    return answer(response, 429, { error: "too many calls" });
  }
  if (stats.calls % FAILS_EACH_NTH_CALL === 0) {
    stats.failed += 1;
    return answer(response, 500, { error: "our database is having a moment" });
  }
  const parsed = chargeRequest.parse(JSON.parse(body));
  if (!isCardToken(parsed.cardToken)) {
    stats.refused += 1;
    return answer(response, 422, { error: "the card token fails its check character" });
  }
  const made = charge(parsed);
  if (stats.calls % DROPS_EACH_NTH_CALL === 0) {
    stats.dropped += 1;
    response.destroy();
    return;
  }
  answer(response, 201, made);
}

function answer(response: ServerResponse, status: number, body: unknown): void {
  response.statusCode = status;
  response.setHeader("content-type", "application/json");
  response.end(JSON.stringify(body));
}

const server = createServer((request, response) => {
  switch (`${request.method} ${request.url}`) {
    case "POST /charges":
      postCharge(request, response).catch((error: unknown) => answer(response, 400, { error: String(error) }));
      return;
    case "GET /books":
      answer(response, 200, [...charges.values()]);
      return;
    case "GET /stats":
      answer(response, 200, stats);
      return;
    default:
      answer(response, 404, { error: "no such page" });
  }
});

server.listen(0, "127.0.0.1", () => {
  const { port } = server.address() as AddressInfo;
  process.send?.({ url: `http://127.0.0.1:${port}` });
});
// The demo is gone, so nobody is left to charge.
process.once("disconnect", () => process.exit());
