import { RetryAfterError, TerminalError } from "../../lib/index.ts";

/** The environment variable that tells a worker where the supplier listens. */
export const SUPPLIER_URL_VARIABLE = "SHOP_SUPPLIER_URL";

/**
 * Asks the supplier to charge a card, and turns its answer into what the task should do:
 * 201 is a charge, 422 will never succeed, 429 says when to come back, and all else is tried again with backoff.
 */
export async function chargeCardAtSupplier(
  request: { idempotencyKey: string; cents: number; cardToken: string },
  signal: AbortSignal,
): Promise<{ chargeId: string }> {
  const response = await fetch(`${process.env[SUPPLIER_URL_VARIABLE]}/charges`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify(request),
    signal,
  });
  switch (response.status) {
    case 201:
      return (await response.json()) as { chargeId: string };
    case 422:
      throw new TerminalError(`the supplier refused the card: ${await response.text()}`);
    case 429:
      throw new RetryAfterError(`${Number(response.headers.get("retry-after") ?? 1)}s`);
    default:
      throw new Error(`the supplier answered ${response.status}: ${await response.text()}`);
  }
}
