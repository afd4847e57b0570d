import { TasklaneError } from "../task/errors.ts";

/** The calls that clients and workers make, with the grant of the construct that holds each. */
const GRANT_OF_ACTION = {
  "sqs:SendMessage": "enqueue",
  "sqs:GetQueueAttributes": "enqueue",
  "sqs:ReceiveMessage": "consume",
  "sqs:DeleteMessage": "consume",
  "sqs:ChangeMessageVisibility": "consume",
  "dynamodb:PutItem": "enqueue",
  "dynamodb:UpdateItem": "consume",
  "dynamodb:GetItem": "read",
  "dynamodb:BatchGetItem": "read",
  "dynamodb:Query": "read",
  "s3:PutObject": "enqueue",
  "s3:GetObject": "consume",
} as const;

/** An action as IAM calls it, and the resource it was meant for. */
export interface AwsCall {
  readonly action: keyof typeof GRANT_OF_ACTION | (string & {});
  /** As the topology names it. */
  readonly resource: string;
}

const ACCESS_DENIED = new Set(["AccessDenied", "AccessDeniedException", "AllAccessDisabled", "NotAuthorizedException"]);
/** A key that is denied, disabled or gone; each service has its own spelling. A throttled key passes. */
const KEY_REFUSED = /^kms(?!.*throttl)/i;
const BAD_CREDENTIALS = new Set([
  "CredentialsProviderError",
  "ExpiredToken",
  "ExpiredTokenException",
  "IncompleteSignature",
  "IncompleteSignatureException",
  "InvalidAccessKeyId",
  "InvalidClientTokenId",
  "InvalidSecurity",
  "InvalidSignatureException",
  "InvalidToken",
  "MissingAuthenticationTokenException",
  "SignatureDoesNotMatch",
  "TokenProviderError",
  "UnrecognizedClientException",
]);
const MISSING = new Set([
  "NoSuchBucket",
  "QueueDoesNotExist",
  "AWS.SimpleQueueService.NonExistentQueue",
  "ResourceNotFoundException",
]);
/** A connection that was never made carried nothing. */
const NEVER_SENT_CODES = new Set(["ECONNREFUSED", "ENOTFOUND", "EAI_AGAIN"]);

/** What the SDK's errors have in common; a thrown value of any kind is read as one. */
interface SdkFailure {
  readonly name: string;
  readonly message: string;
  readonly code: string | undefined;
  readonly status: number | undefined;
  readonly attempts: number | undefined;
}

/** Turns what an SDK call threw into an error that says what is missing, with the SDK's error as its cause. */
export function toTasklaneError(error: unknown, call: AwsCall): TasklaneError {
  if (TasklaneError.is(error)) return error;
  const failure = readFailure(error);
  const where = `${call.action} on ${call.resource}`;
  const received = `${failure.name}: ${failure.message}`;
  if (failure.message === "Region is missing")
    return new TasklaneError("TOPOLOGY_INVALID", {
      what: `${where} needs a region`,
      expected: "a region in the topology, in AWS_REGION, or in the client that is passed as sdk",
      fix: 'set AWS_REGION, or pass a region to provision(), or add "region" to the topology',
      cause: error,
    });
  if (BAD_CREDENTIALS.has(failure.name))
    return new TasklaneError("PERMISSION_DENIED", {
      what: `AWS took no credentials for ${where}`,
      received,
      fix: fixForCredentials(process.env["AWS_PROFILE"]),
      cause: error,
    });
  if (KEY_REFUSED.test(failure.name))
    return new TasklaneError("PERMISSION_DENIED", {
      what: `The encryption key could not be used for ${where}`,
      received,
      fix: "allow this role to use the key, and check that the key is enabled",
      cause: error,
    });
  if (ACCESS_DENIED.has(failure.name) || failure.status === 403)
    return new TasklaneError("PERMISSION_DENIED", {
      what: `AWS refused ${where}`,
      received,
      fix: fixForDenied(call.action),
      cause: error,
    });
  if (MISSING.has(failure.name))
    return new TasklaneError("RESOURCE_MISSING", {
      what: `${where} found nothing there`,
      received,
      fix: "check the topology's region, endpoint and names, or create it with provision() or a deploy",
      cause: error,
    });
  // What is refused for what it says is refused each time.
  if (failure.name === "ValidationException")
    return new TasklaneError("BACKEND_UNAVAILABLE", {
      what: `AWS does not take ${where}`,
      received,
      fix: "trying again is of no use: see that the resource was made for this, as keys and indexes of a table are",
      cause: error,
    });
  return new TasklaneError("BACKEND_UNAVAILABLE", {
    what: `${where} ${failure.status === undefined ? "got no answer" : "failed"}`,
    received,
    fix: failure.status === undefined ? "check the network and the topology's endpoint, then try again" : "try again",
    cause: error,
  });
}

function fixForCredentials(profile: string | undefined): string {
  const good = "credentials of the queue's account that aws sts get-caller-identity takes";
  return profile === undefined || profile === ""
    ? `set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, to ${good}`
    : `AWS_PROFILE is "${profile}", which goes before AWS_ACCESS_KEY_ID: see that this profile has ${good}, or unset it`;
}

/**
 * Tells whether a write that threw may have been done all the same: it got no answer, or an answer that tells nothing,
 * or it was sent more than once and only the last answer is known. A refusal of the first try certainly did nothing.
 */
export function isUnanswered(error: unknown): boolean {
  const { name, code, status, attempts } = readFailure(error);
  if (name === "AbortError") return true;
  // Only what reached the SDK's retry step has a count: anything else failed before it was sent.
  if (attempts === undefined) return false;
  if (attempts > 1) return true;
  if (status !== undefined) return status >= 500 || status < 400;
  return name !== "CredentialsProviderError" && !NEVER_SENT_CODES.has(code ?? "");
}

/** Tells whether a thrown value is the SDK's error of one of these names. */
export function isNamed(error: unknown, ...names: readonly string[]): boolean {
  return names.includes(readFailure(error).name);
}

/** The HTTP status in an SDK error, if it got as far as that. */
export function statusOf(error: unknown): number | undefined {
  return readFailure(error).status;
}

function fixForDenied(action: string): string {
  const grant: string | undefined = Object.entries(GRANT_OF_ACTION).find(([known]) => known === action)?.[1];
  return grant === undefined
    ? `allow ${action} for this role`
    : `give this role the "${grant}" grant, as in queue.grants.${grant}(role), or allow it ${action}`;
}

function readFailure(error: unknown): SdkFailure {
  if (typeof error !== "object" || error === null)
    return { name: "Error", message: String(error), code: undefined, status: undefined, attempts: undefined };
  const metadata: unknown = Reflect.get(error, "$metadata");
  const fromMetadata = (name: string): number | undefined => {
    const value: unknown = typeof metadata === "object" && metadata !== null ? Reflect.get(metadata, name) : undefined;
    return typeof value === "number" ? value : undefined;
  };
  const text = (name: string): string | undefined => {
    const value: unknown = Reflect.get(error, name);
    return typeof value === "string" ? value : undefined;
  };
  return {
    name: text("name") ?? "Error",
    message: text("message") ?? "",
    code: text("code"),
    status: fromMetadata("httpStatusCode"),
    attempts: fromMetadata("attempts"),
  };
}
