/** A card token ends in a check character, so that a mistyped one is found before it costs anything. */
const ALPHABET = "abcdefghjkmnpqrstuvwxyz23456789";

/** Adds the check character: `tok_h3k9` becomes `tok_h3k9-p`. */
export function cardToken(body: string): string {
  let sum = 0;
  for (const [index, character] of [...body].entries()) {
    sum += (index + 1) * (ALPHABET.indexOf(character) + 1);
  }
  return `tok_${body}-${ALPHABET[sum % ALPHABET.length]}`;
}

/** Whether the check character is the right one. */
export function isCardToken(token: string): boolean {
  const body = /^tok_([a-z0-9]+)-[a-z0-9]$/.exec(token)?.[1];
  return body !== undefined && cardToken(body) === token;
}

/** What the customer reads out on the telephone when the shop asks again: the same card, typed with care. */
export function mendedCardToken(token: string): string {
  return cardToken(token.slice("tok_".length, token.lastIndexOf("-")));
}

/** A body of ten characters from a source of numbers in [0, 1). */
export function cardTokenBody(random: () => number): string {
  return Array.from({ length: 10 }, () => ALPHABET[Math.floor(random() * ALPHABET.length)]).join("");
}
