/** Text that no codec makes smaller to speak of, the same each time. */
export function noise(length: number, seed = 1): string {
  let [text, state] = ["", seed >>> 0];
  while (text.length < length) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    text += state.toString(36);
  }
  return text.slice(0, length);
}

/** A text whose JSON has exactly so many bytes: four-byte characters that do not repeat, and a few ASCII ones to fill up. */
export function textOfJsonBytes(bytes: number): string {
  const inner = bytes - 2;
  const wide = Math.max(0, Math.floor(inner / 4) - 1);
  let text = "";
  let state = 7;
  const parts: string[] = [];
  for (let at = 0; at < wide; at++) {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    parts.push(String.fromCodePoint(0x1_0000 + ((state >>> 8) % 0x10_000)));
  }
  text += parts.join("");
  return text + "x".repeat(inner - 4 * wide);
}
