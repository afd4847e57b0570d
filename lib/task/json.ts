import { TasklaneError } from "./errors.ts";
import { JSON_MAX_DEPTH } from "./limits.ts";
import { endOfString, isKey, parseJson } from "./parse-json.ts";

/** Any value that JSON carries. */
export type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/**
 * Writes a value as canonical JSON: keys sorted, no blanks, so that equal values have equal text and equal hashes.
 *
 * Nothing is converted on the way: a Date, a Map, a BigInt or `NaN` is an error, since the worker would see something else
 * than the producer gave. A property whose value is `undefined` is left out, as JSON does.
 *
 * @throws TasklaneError `INPUT_NOT_JSON` with the path of the first value that JSON cannot carry
 */
export function canonicalJson(value: unknown, what: string): string {
  try {
    return write(value, "", 0, what);
  } catch (cause) {
    if (TasklaneError.is(cause)) throw cause;
    // A proxy or a getter threw.
    throw new TasklaneError("INPUT_NOT_JSON", {
      what: `The ${what} holds a value that cannot be read`,
      fix: "send plain objects, without proxies and getters",
      cause,
    });
  }
}

function write(value: unknown, path: string, depth: number, what: string): string {
  if (value === null || typeof value === "boolean" || typeof value === "string") return JSON.stringify(value);
  if (typeof value === "number")
    return Number.isFinite(value)
      ? JSON.stringify(value)
      : refuse(what, path, String(value), "send null or leave it out");
  if (typeof value === "object" && depth >= JSON_MAX_DEPTH)
    return refuse(what, path, `more than ${JSON_MAX_DEPTH} levels`, "flatten it, or break the cycle");
  if (Array.isArray(value)) {
    // Array.from visits holes too, which JSON would turn into null without a word.
    const items = Array.from(value, (item, index) => write(item, at(path, String(index)), depth + 1, what));
    return `[${items.join(",")}]`;
  }
  if (typeof value === "object" && isPlain(value)) return writeObject(value, path, depth, what);
  return refuse(what, path, kindOf(value), fixFor(value));
}

function writeObject(value: object, path: string, depth: number, what: string): string {
  const parts: string[] = [];
  for (const key of Object.keys(value).sort()) {
    if (isPoisoned(key, value))
      return refuse(what, at(path, key), `the key ${key}`, "rename it: it could change a prototype");
    const item: unknown = Reflect.get(value, key);
    if (item !== undefined) parts.push(`${JSON.stringify(key)}:${write(item, at(path, key), depth + 1, what)}`);
  }
  return `{${parts.join(",")}}`;
}

function isPoisoned(key: string, owner: object): boolean {
  if (key === "__proto__") return true;
  const value: unknown = key === "constructor" ? Reflect.get(owner, key) : undefined;
  return typeof value === "object" && value !== null && Object.hasOwn(value, "prototype");
}

function isPlain(value: object): boolean {
  const prototype: unknown = Object.getPrototypeOf(value);
  return prototype === null || Object.getPrototypeOf(prototype) === null;
}

function at(path: string, key: string): string {
  return path === "" ? key : `${path}.${key}`;
}

function kindOf(value: unknown): string {
  if (typeof value === "object" && value !== null) return `a ${value.constructor?.name ?? "class instance"}`;
  return value === undefined ? "undefined" : `a ${typeof value}`;
}

function fixFor(value: unknown): string {
  if (value instanceof Date) return "send value.toISOString() and parse it in the schema";
  if (typeof value === "bigint") return "send it as a string";
  if (value instanceof Map) return "send Object.fromEntries(value)";
  if (value instanceof Set) return "send [...value]";
  return "send plain objects, arrays, strings, finite numbers, booleans and null";
}

function refuse(what: string, path: string, received: string, fix: string): never {
  throw new TasklaneError("INPUT_NOT_JSON", {
    what: `The ${what} holds a value that JSON cannot carry${path === "" ? "" : ` at "${path}"`}`,
    received,
    fix,
  });
}

/**
 * Parses JSON from a place that anybody may have written to: size, depth and keys that could change a prototype are
 * looked at in the text, before anything is built from it.
 *
 * @returns the value, or `undefined` with a reason if it is refused
 */
export function parseUntrustedJson(
  text: string,
  maxBytes: number,
): { ok: true; value: Json } | { ok: false; reason: string } {
  if (text.length > maxBytes) return { ok: false, reason: `longer than ${maxBytes} characters` };
  const danger = findDanger(text);
  if (danger !== undefined) return { ok: false, reason: danger };
  try {
    return { ok: true, value: parseJson(text) };
  } catch {
    return { ok: false, reason: "not JSON" };
  }
}

/** A dead letter holds a context of full depth one level down; nothing of ours is deeper. */
const TEXT_MAX_DEPTH = JSON_MAX_DEPTH + 2;

/** Walks the text once, keeping count of the nesting, and unescapes each string that stands where a key may stand. */
function findDanger(text: string): string | undefined {
  // For each open bracket, whether it is an object that is called "constructor".
  const open: boolean[] = [];
  let key: string | undefined;
  for (let place = 0; place < text.length; place++) {
    const char = text.charCodeAt(place);
    if (char === 0x7b || char === 0x5b) {
      if (open.push(char === 0x7b && key === "constructor") > TEXT_MAX_DEPTH)
        return `nested deeper than ${JSON_MAX_DEPTH} levels`;
      key = undefined;
    } else if (char === 0x7d || char === 0x5d) {
      open.pop();
      key = undefined;
    } else if (char === 0x22) {
      const end = endOfString(text, place);
      if (end < 0) return "not JSON";
      if (isKey(text, end)) {
        key = readKey(text.slice(place, end + 1));
        if (key === "__proto__" || (key === "prototype" && open.at(-1) === true))
          return "a key that could change a prototype";
      }
      place = end;
    }
  }
  return undefined;
}

function readKey(literal: string): string | undefined {
  if (!literal.includes("\\")) return literal.slice(1, -1);
  try {
    const key: unknown = JSON.parse(literal);
    return typeof key === "string" ? key : undefined;
  } catch {
    // An escape that JSON does not know: the parser refuses the whole text.
    return undefined;
  }
}

/** JSON whose every character SQS accepts: ASCII only, all else escaped, U+FFFE and U+FFFF with it. */
export function asciiJson(value: Json): string {
  return JSON.stringify(value).replace(
    /[\u007f-\uffff]/g,
    (char) => `\\u${char.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** The number of bytes of a text in UTF-8. */
export function utf8Bytes(text: string): number {
  let bytes = text.length;
  for (let place = 0; place < text.length; place++) {
    const char = text.charCodeAt(place);
    if (char < 0x80) continue;
    if (char < 0x800) bytes += 1;
    else if (char >= 0xd800 && char < 0xdc00 && isLowSurrogate(text.charCodeAt(place + 1))) {
      // A pair is two characters and four bytes.
      bytes += 2;
      place++;
    } else bytes += 2;
  }
  return bytes;
}

function isLowSurrogate(char: number): boolean {
  return char >= 0xdc00 && char < 0xe000;
}
