/** How many calls of one batch are under way at once: enough to hide the way to AWS, few enough to leave sockets for others. */
const FAN_OUT_MAX = 10;

/**
 * Runs one call for each entry, a bounded number at a time, and answers in the order of the entries. Entries with the same
 * key run one after the other, so that the first of them wins.
 */
export async function fanOut<Entry, Answer>(
  entries: readonly Entry[],
  keyOf: (entry: Entry, place: number) => string,
  run: (entry: Entry) => Promise<Answer>,
): Promise<Answer[]> {
  const lines = new Map<string, { entry: Entry; place: number }[]>();
  for (const [place, entry] of entries.entries()) {
    const key = keyOf(entry, place);
    const line = lines.get(key);
    if (line === undefined) lines.set(key, [{ entry, place }]);
    else line.push({ entry, place });
  }
  const answers = Array.from<Answer>({ length: entries.length });
  const waiting = lines.values();
  const serve = async (): Promise<void> => {
    for (const line of waiting) {
      for (const { entry, place } of line) answers[place] = await run(entry);
    }
  };
  await Promise.all(Array.from({ length: Math.min(FAN_OUT_MAX, lines.size) }, serve));
  return answers;
}
