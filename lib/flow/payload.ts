import { createHash } from "node:crypto";
// As a whole: an old Node lacks zstd, and is told so when it connects rather than by the loader.
import zlib from "node:zlib";
import { sleep } from "../ports/clock.ts";
import type { Envelope } from "../task/envelope.ts";
import { TasklaneError } from "../task/errors.ts";
import { utf8Bytes } from "../task/json.ts";
import { COMPRESS_MIN_BYTES, PAYLOAD_MAX_BYTES, SIDE_ITEM_MAX_BYTES } from "../task/limits.ts";
import type { LifeClass, PayloadCodec, PayloadRef } from "../task/payload-ref.ts";
import { LIFE_CLASSES } from "../task/payload-ref.ts";
import type { Services } from "./services.ts";

/** SHA-256 in base64url. */
export function hashText(text: string): string {
  return createHash("sha256").update(text).digest("base64url");
}

/** A payload that lies outside the record, ready to be stored. */
export interface PlacedPayload {
  readonly ref: Exclude<PayloadRef, { at: "record" }>;
  readonly json: string;
  /** What is stored: text in a side item, the same text as bytes in S3. */
  readonly stored: string;
}

/**
 * Decides where a text lies that does not fit the record: a side item while it has at most 8 KiB, else S3.
 * Compression is used only where it saves a unit.
 *
 * @throws TasklaneError `PAYLOAD_TOO_LARGE`
 */
export function placePayload(json: string, life: LifeClass, now: number, compress: boolean): PlacedPayload {
  const bytes = utf8Bytes(json);
  checkSize(bytes);
  const plain: PlacedPayload = {
    ref: {
      at: bytes <= SIDE_ITEM_MAX_BYTES ? "side" : "s3",
      hash: hashText(json),
      bytes,
      codec: "json",
      life,
      storedAt: now,
    },
    json,
    stored: json,
  };
  if (!compress || bytes < COMPRESS_MIN_BYTES) return plain;
  const packed = zlib.zstdCompressSync(json).toString("base64");
  const saves = packed.length <= SIDE_ITEM_MAX_BYTES && (plain.ref.at === "s3" || units(packed.length) < units(bytes));
  return saves ? { ref: { ...plain.ref, at: "side", codec: "zstd" }, json, stored: packed } : plain;
}

/** What a side item has besides its value: keys, names, and the time of its end. */
const SIDE_KEYS_BYTES = 91;

function units(bytes: number): number {
  return Math.ceil((bytes + SIDE_KEYS_BYTES) / 1_024);
}

/** @throws TasklaneError `PAYLOAD_TOO_LARGE` */
export function checkSize(bytes: number): void {
  if (bytes > PAYLOAD_MAX_BYTES)
    throw new TasklaneError("PAYLOAD_TOO_LARGE", {
      what: "The JSON is larger than a payload may be",
      received: `${bytes} bytes`,
      expected: `at most ${PAYLOAD_MAX_BYTES} bytes`,
      fix: "store it in a bucket of your own and pass its key",
    });
}

/**
 * Stores an input before its record is written. The key holds the hash, so what is there under it has the same bytes; they
 * are written all the same, since an object of an earlier life of this id would end before the task does.
 */
export function storeInput(services: Services, id: string, placed: PlacedPayload): Promise<void> {
  return store(services, id, placed, placed.ref.hash, true);
}

/** Stores a result. The key holds the fence, so that a worker which lost its lease cannot touch another's result. */
export function storeOutput(services: Services, id: string, placed: PlacedPayload, fence: number): Promise<void> {
  return store(services, id, placed, String(fence));
}

async function store(
  services: Services,
  id: string,
  placed: PlacedPayload,
  name: string,
  renew = false,
): Promise<void> {
  const { ref, stored } = placed;
  if (ref.at === "s3")
    return services.backend.payloads.put(objectKey(ref.life, id, name), new TextEncoder().encode(stored), { renew });
  const days = LIFE_CLASSES.find((life) => life.prefix === ref.life)?.days ?? 0;
  await services.backend.ledger.putSide({
    id,
    key: sideKey(name),
    value: stored,
    expiresAt: ref.storedAt + days * 86_400_000,
  });
}

/** Keys are made from the task's own id, never read from a record or a message: nothing can point at another task's bytes. */
function objectKey(life: LifeClass, id: string, name: string): string {
  return `${life}/${id}/${name}`;
}

function sideKey(name: string): string {
  return `p#${name}`;
}

/**
 * Reads an input as JSON text: from the record, from the message's copy if its hash is right, else from where it was stored.
 *
 * @throws TasklaneError `PAYLOAD_MISSING`, `PAYLOAD_CORRUPT`, or `BACKEND_UNAVAILABLE`, which says nothing about the payload
 */
export async function loadInput(
  services: Services,
  id: string,
  ref: PayloadRef,
  copy?: Envelope["payload"],
): Promise<string> {
  if (ref.at === "record") return ref.json;
  const text = copy === undefined ? undefined : unpack(copy.text, copy.codec, ref.bytes);
  if (text !== undefined && hashText(text) === ref.hash) return text;
  return load(services, id, ref, ref.hash);
}

/** Reads a result as JSON text. @throws TasklaneError as {@link loadInput} */
export async function loadOutput(services: Services, id: string, ref: PayloadRef, fence: number): Promise<string> {
  return ref.at === "record" ? ref.json : load(services, id, ref, String(fence));
}

const MISSING_READS = 3;

async function load(
  services: Services,
  id: string,
  ref: Exclude<PayloadRef, { at: "record" }>,
  name: string,
): Promise<string> {
  let stored: string | undefined;
  for (let read = 1; read <= MISSING_READS && stored === undefined; read++) {
    if (read > 1) await sleep(services.clock, 100 * read);
    stored = await readStored(services, id, ref, name);
  }
  if (stored === undefined)
    throw new TasklaneError("PAYLOAD_MISSING", {
      what: `The stored payload of task ${id} is gone`,
      received: `nothing at ${ref.at === "s3" ? objectKey(ref.life, id, name) : `side item ${sideKey(name)}`}`,
      fix: "redrive the task with its input, and check what deletes from the bucket and the table",
    });
  const text = unpack(stored, ref.codec, ref.bytes);
  if (text === undefined || utf8Bytes(text) !== ref.bytes || hashText(text) !== ref.hash)
    throw new TasklaneError("PAYLOAD_CORRUPT", {
      what: `The stored payload of task ${id} is not what was written`,
      expected: `${ref.bytes} bytes with SHA-256 ${ref.hash}`,
      fix: "redrive the task with its input, and check what else writes to the bucket and the table",
    });
  return text;
}

async function readStored(
  services: Services,
  id: string,
  ref: Exclude<PayloadRef, { at: "record" }>,
  name: string,
): Promise<string | undefined> {
  const { ledger, payloads } = services.backend;
  if (ref.at === "side") {
    const items = await ledger.readSides(id, sideKey(name));
    return items.find((item) => item.key === sideKey(name))?.value;
  }
  const bytes = await payloads.get(objectKey(ref.life, id, name));
  if (bytes === undefined) return undefined;
  return new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes);
}

/** Undoes a codec, never to more than the size that the record names: a bomb stops there. */
function unpack(stored: string, codec: PayloadCodec, bytes: number): string | undefined {
  if (codec === "json") return stored;
  try {
    return zlib
      .zstdDecompressSync(Buffer.from(stored, "base64"), { maxOutputLength: Math.max(1, bytes) })
      .toString("utf8");
  } catch {
    return undefined;
  }
}

/** The copy of a payload that a message carries while it is free, or `undefined` if it does not fit so many characters. */
export function copyForMessage(json: string, roomChars: number, compress: boolean): Envelope["payload"] {
  // Escaped as ASCII, a character takes up to six, and each quote and backslash one more.
  if (json.length <= roomChars && escapedLength(json) <= roomChars) return { codec: "json", text: json };
  if (!compress || json.length < COMPRESS_MIN_BYTES || json.length > 4 * PAYLOAD_MAX_BYTES) return undefined;
  const packed = zlib.zstdCompressSync(json).toString("base64");
  return packed.length <= roomChars ? { codec: "zstd", text: packed } : undefined;
}

function escapedLength(text: string): number {
  let length = 0;
  for (let place = 0; place < text.length; place++) {
    const char = text.charCodeAt(place);
    length += char > 0x7e || char < 0x20 ? 6 : char === 0x22 || char === 0x5c ? 2 : 1;
  }
  return length;
}
