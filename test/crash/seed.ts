import type { Random } from "../../lib/ports/clock.ts";
import { seededRandom } from "../../lib/memory/seeded-random.ts";

/** Chance that `TASKLANE_SEED` repeats. */
export interface Draw {
  readonly seed: number;
  /** A whole number from `least` to `most`, both included. */
  between(least: number, most: number): number;
  pick<Item>(items: readonly Item[]): Item;
  /** The items in another order. */
  shuffle<Item>(items: readonly Item[]): Item[];
}

const SEEDS = 1_000_000_000;

/** Draws from the seed in `TASKLANE_SEED`, else from a new one, and prints it. */
export function drawFromSeed(what: string): Draw {
  const given = process.env["TASKLANE_SEED"];
  const seed = given === undefined || given === "" ? Math.floor(Math.random() * SEEDS) : Number(given);
  if (!Number.isSafeInteger(seed)) throw new Error(`TASKLANE_SEED is not a whole number: ${given}`);
  console.log(`${what}: seed ${seed} (TASKLANE_SEED=${seed} repeats it)`);
  return { seed, ...drawWith(seededRandom(seed)) };
}

function drawWith(random: Random): Omit<Draw, "seed"> {
  const between = (least: number, most: number): number => least + Math.floor(random.next() * (most - least + 1));
  return {
    between,
    pick<Item>(items: readonly Item[]): Item {
      const item = items[between(0, items.length - 1)];
      if (item === undefined) throw new Error("there is nothing to pick from");
      return item;
    },
    shuffle: (items) =>
      items
        .map((item) => ({ item, place: random.next() }))
        .sort((one, other) => one.place - other.place)
        .map(({ item }) => item),
  };
}
