/**
 * Writes `orders.csv`: 200 orders, the same ones each time.
 * Two of them are trouble on purpose: one names a photo that takes the process down, one has a mistyped card.
 */
import { writeFileSync } from "node:fs";
import { cardToken, cardTokenBody } from "./card-token.ts";
import { PRODUCTS } from "./catalogue.ts";
import { PHOTOS, PILL_PHOTO } from "./photos.ts";

const ORDER_COUNT = 200;
const PILL_ORDER_INDEX = 6;
const MISTYPED_ORDER_INDEX = 41;

const FIRST_NAMES =
  "Zoë José Łukasz Søren Anaïs Jürgen Siobhán Françoise Ingrid Péter Šárka João Måns Chloé Iñigo Ágnes Živa Björn Aoife Ondřej Marta Émile Paweł Inês".split(
    " ",
  );
const LAST_NAMES =
  "Müller García Wiśniewski Østergaard Lefèvre Weiß O’Brien Szabó Dvořák Conceição Lindström Núñez Fischer Kowalczyk D’Arcy Nagy Ångström Brûlé Peña Højgaard".split(
    " ",
  );
const PLACES = [
  ["AT", "1070", "Wien", "Lindengasse"],
  ["CZ", "110 00", "Praha", "Dlouhá třída"],
  ["DE", "50667", "Köln", "Große Brinkgasse"],
  ["DK", "8000", "Århus", "Store Torv"],
  ["ES", "15001", "A Coruña", "Rúa do Ángel"],
  ["FR", "75018", "Paris", "Rue de l’Église"],
  ["HU", "1052", "Budapest", "Váci utca"],
  ["IE", "D02 XY45", "Baile Átha Cliath", "Sráid Dáiví"],
  ["PL", "90-001", "Łódź", "ulica Żwirki"],
  ["PT", "1100-148", "Lisboa", "Rua da Conceição"],
  ["SE", "211 22", "Malmö", "Södra Förstadsgatan"],
] as const;
const NOTES = [
  "",
  "",
  "",
  "Happy birthday, Grandma! 🎂🎉",
  'Please write "Für immer" on the back, in blue',
  "Ring twice, the dog 🐕 barks",
  "Leave it with the neighbours, 2nd floor",
  "Pour mamie ❤️, avec l’été dedans",
  "First line\nsecond line, with a comma",
  "👩‍👩‍👧 framed without a border",
];

/** Small, seeded and good enough for test data (mulberry32). */
function seededRandom(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const random = seededRandom(2026);

function pick<T>(values: readonly T[]): T {
  return values[Math.floor(random() * values.length)] as T;
}

/** `Søren Østergaard` writes from `soren.ostergaard@example.org`. */
function mailbox(name: string): string {
  const plain = name.toLowerCase().replaceAll("ł", "l").replaceAll("ø", "o").replaceAll("ß", "ss");
  return plain
    .normalize("NFD")
    .replaceAll(/[^a-z ]/g, "")
    .replaceAll(" ", ".");
}

function csvField(value: string): string {
  return /[",\n]/.test(value) ? `"${value.replaceAll('"', '""')}"` : value;
}

function row(index: number): string[] {
  const name = `${pick(FIRST_NAMES)} ${pick(LAST_NAMES)}`;
  const [country, postcode, city, street] = pick(PLACES);
  const skus = new Set(Array.from({ length: 1 + Math.floor(random() * 5) }, () => pick(Object.keys(PRODUCTS))));
  const items = [...skus].map((sku) => `${sku}:${1 + Math.floor(random() * 4)}:${PRODUCTS[sku]?.cents}`);
  const token = cardToken(cardTokenBody(random));
  const placedAt = new Date(Date.UTC(2026, 10, 23, 7) + index * 241_000).toISOString();
  const photo = pick(PHOTOS.filter((candidate) => candidate !== PILL_PHOTO));
  return [
    `A-${1001 + index}`,
    placedAt,
    index % 37 === 9 ? `${name} 🌻` : name,
    `${mailbox(name)}.${index + 1}@example.${pick(["com", "org"])}`,
    `${street} ${1 + Math.floor(random() * 120)}`,
    postcode,
    city,
    country,
    items.join(" "),
    pick(NOTES),
    index === MISTYPED_ORDER_INDEX ? `${token.slice(0, -1)}${token.endsWith("a") ? "b" : "a"}` : token,
    index === PILL_ORDER_INDEX ? PILL_PHOTO : photo,
  ];
}

const HEADER = "id placedAt name email street postcode city country items note cardToken photo".split(" ");
const rows = [HEADER, ...Array.from({ length: ORDER_COUNT }, (_, index) => row(index))];
writeFileSync(
  new URL("orders.csv", import.meta.url),
  rows.map((fields) => `${fields.map(csvField).join(",")}\n`).join(""),
);
