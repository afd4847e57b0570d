import type { Random } from "../ports/clock.ts";

const TOKEN_CHARS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
const TOKEN_LENGTH = 16;
const ID_TIME_DIGITS = 12;
const ID_CHANCE_DIGITS = 20;
const WARM_UP_ROUNDS = 12;
const TWO_32 = 4_294_967_296;

/** Makes chance that repeats: the same seed gives the same numbers, ids and tokens. Not for secrets. */
export function seededRandom(seed: number): Random {
  const draw = smallFastCounter(seed);
  const next = (): number => draw() / TWO_32;
  return {
    next,
    id(now) {
      const time = Math.floor(now).toString(16).padStart(ID_TIME_DIGITS, "0");
      return time + drawText("0123456789abcdef", ID_CHANCE_DIGITS, next);
    },
    token: () => drawText(TOKEN_CHARS, TOKEN_LENGTH, next),
  };
}

function drawText(chars: string, length: number, next: () => number): string {
  let text = "";
  while (text.length < length) text += chars.charAt(Math.floor(next() * chars.length));
  return text;
}

/**
 * The generator sfc32 by Chris Doty-Humphrey, from PractRand: 128 bits of state, so that ids do not repeat.
 * https://pracrand.sourceforge.net/
 */
function smallFastCounter(seed: number): () => number {
  let a = seed | 0;
  let b = Math.floor(seed / TWO_32) | 0;
  let c = 0x9e3779b9 | 0;
  let counter = 1;
  const draw = (): number => {
    const sum = (a + b + counter) | 0;
    counter = (counter + 1) | 0;
    a = b ^ (b >>> 9);
    b = (c + (c << 3)) | 0;
    c = (((c << 21) | (c >>> 11)) + sum) | 0;
    return sum >>> 0;
  };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) draw();
  return draw;
}
