import type { ApiRequest, ApiResponse } from "../examples/shop/cloud/api.ts";
import { answerRequest } from "../examples/shop/cloud/api.ts";
import { createClient } from "../lib/index.ts";

const client = createClient();

/** The shop's door, behind a function URL. */
export function handler(request: ApiRequest): Promise<ApiResponse> {
  return answerRequest(client, request);
}
