/** How bytes were written: plain JSON text, or that text compressed. */
export type PayloadCodec = "json" | "zstd";

/** The prefixes of the payload bucket, each with a lifecycle rule that deletes after so many days. */
export const LIFE_CLASSES = [
  { prefix: "d30", days: 30 },
  { prefix: "d100", days: 100 },
  { prefix: "d400", days: 400 },
] as const;

/** A prefix of the payload bucket. */
export type LifeClass = (typeof LIFE_CLASSES)[number]["prefix"];

/**
 * Where a task's input or result lies. It never holds a key: keys are rebuilt from the task's own id, so that no
 * record and no message can point at anything but the task's own bytes.
 */
export type PayloadRef =
  | { at: "record"; json: string }
  | { at: "side" | "s3"; hash: string; bytes: number; codec: PayloadCodec; life: LifeClass; storedAt: number };

/** The shortest life class that outlives a span in milliseconds, or `undefined` if none does. */
export function lifeClassFor(spanMs: number): (typeof LIFE_CLASSES)[number] | undefined {
  return LIFE_CLASSES.find((life) => life.days * 86_400_000 >= spanMs);
}

/** Writes a reference as one short string, for the record. */
export function encodePayloadRef(ref: PayloadRef): string {
  if (ref.at === "record") return `r${ref.json}`;
  const at = ref.at === "side" ? "i" : "s";
  return `${at}${ref.codec === "zstd" ? "z" : "j"}.${ref.life}.${ref.bytes.toString(36)}.${ref.storedAt.toString(36)}.${ref.hash}`;
}

/** Reads what {@link encodePayloadRef} wrote, or `undefined` if it is not of that form. */
export function decodePayloadRef(text: string): PayloadRef | undefined {
  if (text.startsWith("r")) return { at: "record", json: text.slice(1) };
  const match = /^([is])([jz])\.(d30|d100|d400)\.([0-9a-z]+)\.([0-9a-z]+)\.([A-Za-z0-9_-]{1,64})$/.exec(text);
  const life = LIFE_CLASSES.find((known) => known.prefix === match?.[3])?.prefix;
  const bytes = Number.parseInt(match?.[4] ?? "", 36);
  const storedAt = Number.parseInt(match?.[5] ?? "", 36);
  if (match === null || life === undefined || !Number.isSafeInteger(bytes) || !Number.isSafeInteger(storedAt))
    return undefined;
  return {
    at: match[1] === "i" ? "side" : "s3",
    codec: match[2] === "z" ? "zstd" : "json",
    life,
    bytes,
    storedAt,
    hash: match[6] ?? "",
  };
}
