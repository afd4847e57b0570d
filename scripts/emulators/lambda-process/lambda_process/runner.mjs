// One function environment: loads the handler once, then answers one line of JSON for each invocation that comes in as a line.
import { existsSync, writeSync } from "node:fs";
import { resolve } from "node:path";
import { createInterface } from "node:readline";
import { pathToFileURL } from "node:url";

const answers = Number(process.argv[2]);
const timeoutMs = Number(process.env.AWS_LAMBDA_FUNCTION_TIMEOUT) * 1_000;

async function load(name) {
  const dot = name.lastIndexOf(".");
  const file = ["mjs", "js", "cjs"]
    .map((end) => resolve(`${name.slice(0, dot)}.${end}`))
    .find((path) => existsSync(path));
  if (file === undefined) throw new Error(`there is no module for ${name}`);
  const module = await import(pathToFileURL(file).href);
  const exported = name.slice(dot + 1);
  const found = module[exported] ?? module.default?.[exported];
  if (typeof found !== "function") throw new Error(`${name} is not a function`);
  return found;
}

const loading = load(process.env._HANDLER);
// A module that does not load fails each invocation, not the environment.
loading.catch(() => undefined);

function answer(failed, body) {
  writeSync(answers, `${JSON.stringify({ failed, body: body ?? null })}\n`);
}

for await (const line of createInterface({ input: process.stdin })) {
  const request = JSON.parse(line);
  const end = Date.now() + timeoutMs;
  process.env._X_AMZN_TRACE_ID = request["trace-id"];
  const context = {
    awsRequestId: request["invoke-id"],
    functionName: process.env.AWS_LAMBDA_FUNCTION_NAME,
    invokedFunctionArn: request["invoked-function-arn"],
    getRemainingTimeInMillis: () => end - Date.now(),
  };
  try {
    const handler = await loading;
    answer(false, await handler(JSON.parse(request.payload || "null"), context));
  } catch (error) {
    answer(true, {
      errorType: error?.name ?? "Error",
      errorMessage: String(error?.message ?? error),
      trace: String(error?.stack ?? "").split("\n"),
    });
  }
}
