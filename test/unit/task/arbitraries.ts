import fc from "fast-check";
import type { Json } from "../../../lib/task/json.ts";
import { LANES } from "../../../lib/task/lane.ts";
import type { PayloadRef } from "../../../lib/task/payload-ref.ts";
import type { TaskRecord } from "../../../lib/task/record.ts";
import { FINAL_STATES } from "../../../lib/task/states.ts";

/** Code units that encoders get wrong: controls, quotes, DEL, C1, line separators, BOM, both non-characters, surrogates. */
const AWKWARD_UNITS = [0, 8, 9, 10, 13, 27, 34, 47, 92, 127, 128, 159, 0x2028, 0x2029, 0xd800, 0xdbff, 0xdc00, 0xdfff];
const NON_CHARACTERS = [0xfdd0, 0xfeff, 0xfffd, 0xfffe, 0xffff];

/** Any sequence of UTF-16 units whatever, lone surrogates among them. */
export const anyText: fc.Arbitrary<string> = fc
  .array(
    fc.oneof(
      fc.integer({ min: 0, max: 0xffff }),
      fc.integer({ min: 0x20, max: 0x7e }),
      fc.constantFrom(...AWKWARD_UNITS, ...NON_CHARACTERS),
    ),
    { maxLength: 60 },
  )
  .map((units) => String.fromCharCode(...units));

/** Keys and strings of any text, without the keys that both ends refuse. */
export const anyJson: fc.Arbitrary<Json> = fc.letrec<{ value: Json }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 5 },
    anyText,
    fc.double({ noDefaultInfinity: true, noNaN: true }).map((value) => (Object.is(value, -0) ? 0 : value)),
    fc.integer(),
    fc.boolean(),
    fc.constant(null),
    fc.array(tie("value"), { maxLength: 5 }),
    fc
      .array(fc.tuple(anyText, tie("value")), { maxLength: 5 })
      .map((entries) => Object.fromEntries(entries.filter(([key]) => key !== "__proto__" && key !== "constructor"))),
  ),
})).value;

export const anyName: fc.Arbitrary<string> = fc.stringMatching(/^[a-z0-9][a-z0-9._-]{0,63}$/);
export const anyTaskId: fc.Arbitrary<string> = fc.stringMatching(/^[A-Za-z0-9_-]{16,64}$/);

/** Milliseconds since 1970, up to the year 2500. */
export const anyTime: fc.Arbitrary<number> = fc.integer({ min: 0, max: 16_725_225_600_000 });

export const anyPayloadRef: fc.Arbitrary<PayloadRef> = fc.oneof(
  fc.record({ at: fc.constant("record" as const), json: anyText }),
  fc.record({
    at: fc.constantFrom("side" as const, "s3" as const),
    hash: fc.stringMatching(/^[A-Za-z0-9_-]{1,64}$/),
    bytes: fc.nat({ max: 10 * 1_048_576 }),
    codec: fc.constantFrom("json" as const, "zstd" as const),
    life: fc.constantFrom("d30" as const, "d100" as const, "d400" as const),
    storedAt: anyTime,
  }),
);

const counter = fc.nat({ max: 5_000 });

const requiredFields = {
  task: anyName,
  lane: fc.constantFrom(...LANES),
  state: fc.constantFrom("queued" as const, "running" as const, ...FINAL_STATES),
  epoch: fc.integer({ min: 1, max: 100 }),
  fence: anyTime,
  owner: anyText,
  createdAt: anyTime,
  dueAt: anyTime,
  notBefore: anyTime,
  attempts: counter,
  failures: counter,
  crashes: counter,
  snoozes: counter,
  interruptions: counter,
  resends: counter,
  retentionMs: anyTime,
  input: anyPayloadRef,
  inputHash: fc.stringMatching(/^[A-Za-z0-9_-]{43}$/),
};

const optionalFields = {
  messageId: anyText,
  startBy: anyTime,
  startedAt: anyTime,
  leaseUntil: anyTime,
  cancelRequested: anyText,
  owedAt: anyTime,
  slotUs: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
  output: anyPayloadRef,
  meta: anyText,
  metaAside: fc.constant(true),
  traceparent: anyText,
  reason: fc.constantFrom("TIMEOUT" as const, "RETRIES_EXHAUSTED" as const),
  message: anyText,
  progress: anyText,
  finishedAt: anyTime,
  // The store keeps seconds.
  expiresAt: anyTime.map((ms) => Math.ceil(ms / 1_000) * 1_000),
};

/** The fields that a record may lack. */
export const OPTIONAL_FIELDS = Object.keys(optionalFields) as (keyof typeof optionalFields)[];

/** A record with any legal value in each field, optional ones there or not. */
export const anyRecord: fc.Arbitrary<TaskRecord> = fc.record(
  { id: anyTaskId, ...requiredFields, ...optionalFields },
  { requiredKeys: ["id", ...(Object.keys(requiredFields) as (keyof typeof requiredFields)[])] },
);

/** Some fields of a record, as a patch sets them. */
export const anyChange: fc.Arbitrary<Partial<TaskRecord>> = fc.record(
  { ...requiredFields, ...optionalFields },
  { requiredKeys: [] },
);
