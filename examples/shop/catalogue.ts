/** What the shop prints photos on. Prices are net, in cents of a euro. */
export const PRODUCTS: Readonly<Record<string, { name: string; cents: number }>> = {
  MUG: { name: "Enamel mug", cents: 1450 },
  POSTER: { name: "Poster 50 × 70 cm", cents: 2290 },
  CANVAS: { name: "Canvas on a wooden frame", cents: 6480 },
  CALENDAR: { name: "Wall calendar", cents: 1999 },
  PUZZLE: { name: "Puzzle of 500 pieces", cents: 2375 },
  BOOK: { name: "Photo book, 40 pages", cents: 3895 },
  CARDS: { name: "Postcards, ten of a kind", cents: 890 },
  CUSHION: { name: "Cushion with cover", cents: 2749 },
  SHIRT: { name: "T-shirt, organic cotton", cents: 2180 },
  APRON: { name: "Crêpe maker's apron", cents: 2605 },
  MAGNET: { name: "Fridge magnet", cents: 333 },
};

/** The rate of value added tax by the country of delivery, in per cent. */
export const VAT_PERCENT: Readonly<Record<string, number>> = {
  AT: 20,
  CZ: 21,
  DE: 19,
  DK: 25,
  ES: 21,
  FR: 20,
  HU: 27,
  IE: 23,
  PL: 23,
  PT: 23,
  SE: 25,
};
