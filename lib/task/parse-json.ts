import type { Json } from "./json.ts";

/**
 * `JSON.parse`, but for a defect of V8: in Node 22 to 26 a key that is written with an escape may come out as another one, if an object
 * of the same shape had a backslash in that key's place before. https://github.com/nodejs/node/issues/63785
 *
 * @throws SyntaxError
 */
export function parseJson(text: string): Json {
  const value: Json = JSON.parse(text);
  return text.includes("\\") && hasEscapedKey(text) ? new EscapedKeysReader(text).read() : value;
}

function hasEscapedKey(text: string): boolean {
  let escape = text.indexOf("\\");
  for (let place = text.indexOf('"'); place >= 0; ) {
    const end = endOfString(text, place);
    // Only once it lies behind: looked for at each string, one far away would cost the whole way to it each time.
    if (escape < place) escape = text.indexOf("\\", place);
    if (escape < 0) return false;
    if (escape < end && isKey(text, end)) return true;
    place = text.indexOf('"', end + 1);
  }
  return false;
}

/** Reads a text that is known to be JSON, key by key. A string that stands alone is not what the defect is about. */
class EscapedKeysReader {
  readonly #text: string;
  #place = 0;

  constructor(text: string) {
    this.#text = text;
  }

  read(): Json {
    const token = this.#next();
    if (token === "[") {
      const items: Json[] = [];
      while (!this.#take("]")) {
        items.push(this.read());
        this.#take(",");
      }
      return items;
    }
    if (token !== "{") return JSON.parse(token);
    const object: { [key: string]: Json } = {};
    while (!this.#take("}")) {
      const key: string = JSON.parse(this.#next());
      this.#take(":");
      // As JSON.parse does it, whatever the key is called.
      Object.defineProperty(object, key, { value: this.read(), writable: true, enumerable: true, configurable: true });
      this.#take(",");
    }
    return object;
  }

  #next(): string {
    BLANKS.lastIndex = this.#place;
    BLANKS.test(this.#text);
    const start = BLANKS.lastIndex;
    let end = start + 1;
    if (this.#text.charAt(start) === '"') end = endOfString(this.#text, start) + 1;
    else if (!PUNCTUATION.includes(this.#text.charAt(start)))
      while (end < this.#text.length && !DELIMITERS.includes(this.#text.charAt(end))) end++;
    this.#place = end;
    return this.#text.slice(start, end);
  }

  #take(wanted: string): boolean {
    const before = this.#place;
    if (this.#next() === wanted) return true;
    this.#place = before;
    return false;
  }
}

const BLANKS = /\s*/y;
const PUNCTUATION = "{}[]:,";
const DELIMITERS = `${PUNCTUATION} \t\n\r"`;

/** Where a string literal that begins at `start` ends, or -1. */
export function endOfString(text: string, start: number): number {
  for (let place = start + 1; place < text.length; place++) {
    const char = text.charCodeAt(place);
    if (char === 0x5c) place++;
    else if (char === 0x22) return place;
  }
  return -1;
}

/** Whether a string literal that ends at `end` stands where a key does. */
export function isKey(text: string, end: number): boolean {
  for (let place = end + 1; place < text.length; place++) {
    const char = text.charCodeAt(place);
    if (char === 0x3a) return true;
    if (char !== 0x20 && char !== 0x09 && char !== 0x0a && char !== 0x0d) return false;
  }
  return false;
}
