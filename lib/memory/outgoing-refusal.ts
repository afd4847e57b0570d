import type { OutgoingMessage } from "../ports/queue.ts";
import { TasklaneError } from "../task/errors.ts";
import { utf8Bytes } from "../task/json.ts";
import { SQS_DELAY_MAX_MS, SQS_MESSAGE_MAX_BYTES } from "../task/limits.ts";

/**
 * What SQS refuses in a body: all that XML 1.0 does not allow, lone surrogates among it.
 * https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html
 */
const REFUSED_CHARS = /[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\u{10000}-\u{10ffff}]/u;

/** Why SQS would not take a message, or `undefined` if it would. */
export function refusalOf(message: OutgoingMessage): TasklaneError | undefined {
  const { body, delayMs = 0 } = message;
  const bytes = utf8Bytes(body);
  if (bytes > SQS_MESSAGE_MAX_BYTES)
    return new TasklaneError("PAYLOAD_TOO_LARGE", {
      what: "The body of the message is larger than SQS takes",
      received: `${bytes} bytes`,
      expected: `at most ${SQS_MESSAGE_MAX_BYTES} bytes`,
    });
  if (body === "") return invalid("The body of the message is empty", body, "at least one character");
  const refused = REFUSED_CHARS.exec(body);
  if (refused !== null)
    return invalid(
      "The body of the message holds a character that SQS refuses",
      `U+${refused[0].charCodeAt(0).toString(16).toUpperCase().padStart(4, "0")} at ${refused.index}`,
      "the characters of XML 1.0",
    );
  if (!(delayMs >= 0) || wholeSecondsDown(delayMs) > SQS_DELAY_MAX_MS)
    return invalid("The delay of the message is none that SQS takes", delayMs, `0 to ${SQS_DELAY_MAX_MS} ms`);
  return undefined;
}

/** A span as SQS takes delays: whole seconds, rounded down. */
export function wholeSecondsDown(ms: number): number {
  return Math.floor(ms / 1_000) * 1_000;
}

/** A span as SQS takes times out of sight: whole seconds, rounded up, so that nothing shows early. */
export function wholeSecondsUp(ms: number): number {
  return Math.ceil(ms / 1_000) * 1_000;
}

function invalid(what: string, received: unknown, expected: string): TasklaneError {
  return new TasklaneError("OPTION_INVALID", { what, received, expected });
}
