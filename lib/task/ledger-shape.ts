import { ATTRIBUTES } from "./record-codec.ts";

/** An index of the ledger: by creation, by when something is owed, by death. */
export type LedgerIndex = "created" | "owed" | "dead";

/** The three indexes, `KEYS_ONLY` each: the attribute that splits it into shards, and the time that sorts it. */
export const INDEXES: Readonly<Record<LedgerIndex, { readonly shard: string; readonly time: string }>> = {
  created: { shard: ATTRIBUTES.creationShard, time: ATTRIBUTES.creationTime },
  owed: { shard: ATTRIBUTES.owedShard, time: ATTRIBUTES.owedTime },
  dead: { shard: ATTRIBUTES.deadShard, time: ATTRIBUTES.deadTime },
};
